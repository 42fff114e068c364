//! The parts of the config that are the agent's own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use fieldpost_link::{PAUSE_MAX, Proxy};
use fieldpost_model::Period;
use serde::{Deserialize, Serialize};

/// What is kept back for longer looks like an agent that has gone.
const PUSH_INTERVAL_MAX: Period = Period::from_secs(86_400);
/// A hub that is dialled more often than every second gets no chance to answer.
const RECONNECT_RANGE: (Period, Period) = (Period::from_secs(1), Period::from_secs(3_600));

/// The `metrics` section: the page that Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where the page is served; port 0 takes any free one.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7701)) }
    }
}

/// The `api.http` section: the door for programs that ask a Prometheus, such as Grafana.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where it is; unset: nowhere.
    pub listen: Option<SocketAddr>,
    /// The file with the token that they send as `Authorization: Bearer TOKEN`.
    pub token_file: Option<PathBuf>,
    /// The certificate (PEM) for TLS, with those that vouch for it.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
}

/// A token that is shorter can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

impl Http {
    /// What is wrong with the values, each with its key; empty when all is well.
    pub fn faults(&self) -> Vec<(String, String)> {
        let Some(address) = self.listen else { return Vec::new() };
        let mut faults = Vec::new();
        let mut need = |good: bool, key: &str, text: &str| {
            if !good {
                faults.push((key.to_owned(), text.to_owned()));
            }
        };
        need(
            self.token_file.is_some(),
            "listen",
            "needs api.http.token_file, a file with a long random token",
        );
        need(self.certificate.is_some() == self.key.is_some(), "certificate", "goes with api.http.key");
        let is_safe = address.ip().is_loopback() || self.certificate.is_some();
        need(is_safe, "listen", "is not loopback, and needs api.http.certificate and api.http.key (TLS)");
        faults
    }

    /// The token that programs have to send; none where there is no door.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let (Some(_), Some(path)) = (self.listen, &self.token_file) else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("api.http.token_file: cannot read {}", path.display()))?;
        let token = text.trim().to_owned();
        let advice = "write one with: openssl rand -hex 32";
        anyhow::ensure!(
            token.len() >= TOKEN_CHARS_MIN,
            "api.http.token_file: the token in {} is shorter than {TOKEN_CHARS_MIN} characters; {advice}",
            path.display()
        );
        Ok(Some(token))
    }
}

const PASSWORD_ELSEWHERE: &str = "a config file is no place for a password: write http://USER@HOST:PORT, and \
    the password into a file that proxy_password_file names";

/// The `link` section: how this agent goes to the hubs that it dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// New items go to the hubs no more often than this; 0: as they are sealed.
    pub push_interval: Period,
    /// The longest pause between two dials of a hub that does not answer.
    pub reconnect_max: Period,
    /// Ends the agent, with an error, when a hub refuses it for good.
    pub exit_on_fail: bool,
    /// The HTTP proxy by which hubs are dialled.
    pub proxy: Option<String>,
    /// The file with the password of the proxy's user.
    pub proxy_password_file: Option<PathBuf>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            push_interval: Period::default(),
            reconnect_max: Period::from_secs(PAUSE_MAX.as_secs()),
            exit_on_fail: false,
            proxy: None,
            proxy_password_file: None,
        }
    }
}

impl Link {
    /// What is wrong with the values, each with its key; empty when all is well.
    pub fn faults(&self) -> Vec<(String, String)> {
        let wrong_proxy = match self.proxy.as_deref().map(str::parse::<Proxy>) {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(proxy)) if proxy.has_password() => Some(PASSWORD_ELSEWHERE.to_owned()),
            _ => None,
        };
        let wrong_proxy = wrong_proxy.map(|fault| ("proxy".to_owned(), fault));
        let far = (self.push_interval > PUSH_INTERVAL_MAX)
            .then(|| ("push_interval".to_owned(), format!("must be at most {PUSH_INTERVAL_MAX}")));
        let odd = !(RECONNECT_RANGE.0..=RECONNECT_RANGE.1).contains(&self.reconnect_max);
        let (least, most) = RECONNECT_RANGE;
        let odd = odd.then(|| ("reconnect_max".to_owned(), format!("must be from {least} to {most}")));
        [far, odd, wrong_proxy].into_iter().flatten().collect()
    }

    /// The proxy by which hubs are dialled, with its password.
    pub fn dialled_by(&self) -> anyhow::Result<Option<Proxy>> {
        let Some(proxy) = &self.proxy else { return Ok(None) };
        let proxy: Proxy = proxy.parse().context("link.proxy cannot be used")?;
        let Some(path) = &self.proxy_password_file else { return Ok(Some(proxy)) };
        let password = std::fs::read_to_string(path)
            .with_context(|| format!("link.proxy_password_file: cannot read {}", path.display()))?;
        Ok(Some(proxy.with_password(password.trim_end_matches(['\r', '\n']))))
    }
}

/// The `history` section: the process and unit tables that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// How often the whole tables are kept; 0 keeps none.
    pub interval: Period,
}

impl Default for History {
    fn default() -> Self {
        Self { interval: Period::from_secs(5) }
    }
}
