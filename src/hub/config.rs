//! The config of the hub: what it listens on, what it keeps and for how long, what it takes from
//! an agent.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fieldpost_model::{ByteSize, Period};
use serde::{Deserialize, Serialize};

use crate::telemetry;

/// Seconds in a day.
const DAY_SECONDS: u64 = 86_400;
/// Nothing is kept for less: what is rarer than this is looked at by hand.
const RETENTION_MIN: Period = Period::from_secs(3_600);
/// Less would not hold a day of one agent.
const QUOTA_MIN: ByteSize = ByteSize(64 << 20);
/// Fewer runs than a page shows are no history.
const RUNS_MAX_MIN: u64 = 1_000;
/// A window of an ordinary host takes some kB; one of a very large host, a few hundred.
const ITEM_BYTES_MIN: ByteSize = ByteSize(64 << 10);
/// An item is held in memory as a whole.
const ITEM_BYTES_MAX: ByteSize = ByteSize(64 << 20);
/// Names of mount points and interfaces fit in.
const LABEL_VALUE_BYTES_MIN: ByteSize = ByteSize(64);
/// A value of a label is held in the index of series.
const LABEL_VALUE_BYTES_MAX: ByteSize = ByteSize(64 << 10);
/// What a host's own series need at the least, and the most that one agent may ever have.
const SERIES_RANGE: (u32, u32) = (100, 10_000_000);
/// Metrics of hosts have up to a dozen labels; nobody reads hundreds.
const LABELS_RANGE: (u32, u32) = (8, 1_024);
/// A window arrives every ten seconds; shorter than this, every agent is late now and then.
const LATE_AFTER_MIN: Period = Period::from_secs(5);
/// What may stand in braces in the label `instance`.
const PLACEHOLDERS: [&str; 2] = ["name", "id"];

/// Everything that can be set of a hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where people, programs and agents reach it; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What join strings name, such as `https://hub.example:7700`; unset: the address above.
    pub public_url: Option<String>,
    /// The certificate that is shown off loopback.
    pub tls: Tls,
    /// Where everything is kept, and for how long.
    pub store: Store,
    /// The most that is taken from one agent.
    pub limits: Limits,
    /// When an agent counts as late, and when as gone.
    pub agents: Agents,
    /// Labels that are added to every series of an agent.
    pub labels: Labels,
    /// Targets that run no agent.
    pub scrape: Vec<super::ScrapeJob>,
    /// Where the programs of this machine reach the hub.
    pub api: Api,
    /// What the hub says about itself.
    pub log: telemetry::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            public_url: None,
            tls: Tls::default(),
            store: Store::default(),
            limits: Limits::default(),
            agents: Agents::default(),
            labels: Labels::default(),
            scrape: Vec::new(),
            api: Api::default(),
            log: telemetry::Config::default(),
        }
    }
}

/// The `tls` section. Without a certificate the hub shows its own off loopback; agents know that
/// one by its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those above it, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// The `store` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Data folder; made if it is missing.
    pub path: PathBuf,
    /// How long each thing is kept.
    pub retention: Retention,
    /// The most bytes that the data folder may take; the oldest go first.
    pub quota: ByteSize,
    /// Bytes of the file system that are left to others, by giving up the oldest.
    pub min_free: ByteSize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/fieldpost/hub"),
            retention: Retention::default(),
            quota: ByteSize(64 << 30),
            min_free: ByteSize(1 << 30),
        }
    }
}

/// How long each thing is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Samples as they were taken.
    pub raw: Period,
    /// Minimum, maximum, sum, count and last of each minute.
    pub rollup_1m: Period,
    /// The same of each hour.
    pub rollup_1h: Period,
    /// What happened to the agents, and what people did at the hub.
    pub events: Period,
    /// Runs that are over, of all agents.
    pub runs: Period,
    /// So many runs at most, the newest.
    pub runs_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw: Period::from_secs(14 * DAY_SECONDS),
            rollup_1m: Period::from_secs(90 * DAY_SECONDS),
            rollup_1h: Period::from_secs(730 * DAY_SECONDS),
            events: Period::from_secs(365 * DAY_SECONDS),
            runs: Period::from_secs(90 * DAY_SECONDS),
            runs_max: 1_000_000,
        }
    }
}

/// The `limits` section: what exceeds them is refused, counted, and told to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Series of one agent in one day.
    pub series_per_agent: u32,
    /// Labels of one series.
    pub labels_per_series: u32,
    /// Bytes of the value of one label.
    pub label_value_bytes: ByteSize,
    /// Bytes of one item of the record, compressed.
    pub item_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_agent: 50_000,
            labels_per_series: 64,
            label_value_bytes: ByteSize(4 << 10),
            item_bytes: ByteSize(8 << 20),
        }
    }
}

/// The `agents` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// An agent that was not heard of for so long leaves the list; its data stay.
    pub forget_after: Period,
    /// The link of an agent that is silent for so long counts as late.
    pub late_after: Period,
}

impl Default for Agents {
    fn default() -> Self {
        Self { forget_after: Period::from_secs(7 * DAY_SECONDS), late_after: Period::from_secs(30) }
    }
}

/// The `labels` section: the labels by which a series names its agent, as Prometheus names a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Labels {
    /// The label `job`.
    pub job: String,
    /// The label `instance`; `{name}` stands for the agent's name, `{id}` for its identity.
    pub instance: String,
}

impl Default for Labels {
    fn default() -> Self {
        Self { job: "fieldpost".to_owned(), instance: "{name}".to_owned() }
    }
}

impl Labels {
    /// The label `instance` of this agent.
    pub fn instance_of(&self, name: &str, id: &str) -> String {
        // Names that hold braces themselves are not looked into.
        let mut parts = self.instance.split("{name}").map(|part| part.replace("{id}", id));
        let first = parts.next().unwrap_or_default();
        parts.fold(first, |whole, part| whole + name + &part)
    }
}

/// The `api` section: the door for programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The Unix socket; unset: hub.sock in `store.path`.
    pub socket: Option<PathBuf>,
}

impl Config {
    /// The address by which others know the hub, where it listens at `bound`. One that listens
    /// everywhere goes by the name of its host.
    pub fn public_url(&self, bound: SocketAddr, host_name: &str) -> String {
        let scheme =
            if bound.ip().is_loopback() && self.tls.certificate.is_none() { "http" } else { "https" };
        let own = || match bound.ip().is_unspecified() {
            true => format!("{scheme}://{host_name}:{}", bound.port()),
            false => format!("{scheme}://{bound}"),
        };
        self.public_url.clone().unwrap_or_else(own)
    }

    /// What is kept, and for how long.
    pub fn keeps(&self) -> super::Keeps {
        let Store { retention, quota, min_free, .. } = &self.store;
        let ms = |period: Period| u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX);
        super::Keeps {
            raw_ms: ms(retention.raw),
            rollup_1m_ms: ms(retention.rollup_1m),
            rollup_1h_ms: ms(retention.rollup_1h),
            events_ms: ms(retention.events),
            runs_ms: ms(retention.runs),
            runs_max: retention.runs_max,
            quota_bytes: quota.0,
            min_free_bytes: min_free.0,
        }
    }

    /// What is wrong with the values, each with the path of its key; empty when all is well.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Faults(Vec::new());
        if let Some(Err(text)) = self.public_url.as_deref().map(url_is_sound) {
            faults.need(false, "public_url", text);
        }
        let Tls { certificate, key } = &self.tls;
        faults.need(certificate.is_none() || key.is_some(), "tls.certificate", "needs tls.key beside it");
        faults.need(key.is_none() || certificate.is_some(), "tls.key", "needs tls.certificate beside it");
        self.faults_of_store(&mut faults);
        self.faults_of_limits(&mut faults);
        faults.need(self.agents.forget_after >= RETENTION_MIN, "agents.forget_after", "must be at least 1h");
        faults.need(self.agents.late_after >= LATE_AFTER_MIN, "agents.late_after", "must be at least 5s");
        faults.need(!self.labels.job.is_empty(), "labels.job", "must not be empty");
        if let Err(text) = instance_is_sound(&self.labels.instance) {
            faults.need(false, "labels.instance", text);
        }
        faults.0.extend(super::scrape::faults(&self.scrape));
        faults.0
    }

    fn faults_of_store(&self, faults: &mut Faults) {
        let Store { path, retention, quota, .. } = &self.store;
        faults.need(!path.as_os_str().is_empty(), "store.path", "must name a folder");
        faults.need(*quota >= QUOTA_MIN, "store.quota", &format!("must be at least {QUOTA_MIN}"));
        let Retention { raw, rollup_1m, rollup_1h, events, runs, runs_max } = retention;
        let periods = [
            (raw, "raw"),
            (rollup_1m, "rollup_1m"),
            (rollup_1h, "rollup_1h"),
            (events, "events"),
            (runs, "runs"),
        ];
        for (period, name) in periods {
            faults.need(*period >= RETENTION_MIN, &format!("store.retention.{name}"), "must be at least 1h");
        }
        let text = format!("must be at least {RUNS_MAX_MIN}");
        faults.need(*runs_max >= RUNS_MAX_MIN, "store.retention.runs_max", &text);
    }

    fn faults_of_limits(&self, faults: &mut Faults) {
        let Limits { series_per_agent, labels_per_series, label_value_bytes, item_bytes } = self.limits;
        faults.within(series_per_agent, SERIES_RANGE, "limits.series_per_agent");
        faults.within(labels_per_series, LABELS_RANGE, "limits.labels_per_series");
        let of_value = (LABEL_VALUE_BYTES_MIN, LABEL_VALUE_BYTES_MAX);
        faults.within(label_value_bytes, of_value, "limits.label_value_bytes");
        faults.within(item_bytes, (ITEM_BYTES_MIN, ITEM_BYTES_MAX), "limits.item_bytes");
    }
}

/// What is wrong, each with the path of its key.
struct Faults(Vec<(String, String)>);

impl Faults {
    fn need(&mut self, good: bool, key: &str, text: &str) {
        if !good {
            self.0.push((key.to_owned(), text.to_owned()));
        }
    }

    fn within<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        value: T,
        (least, most): (T, T),
        key: &str,
    ) {
        let text = format!("must be {least} to {most}");
        self.need(value >= least && value <= most, key, &text);
    }
}

/// Scheme, host and port, no more: paths below it are the hub's own. Without encryption it must
/// lead to this machine.
fn url_is_sound(url: &str) -> Result<(), &'static str> {
    let shape = "must be https://, a name or address, and a port if need be: https://hub.example:7700";
    let (scheme, rest) = url.split_once("://").ok_or(shape)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    if !is_host || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(shape);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        "http" => Err("must be https:// where it leads to another machine; http:// is for loopback"),
        _ => Err(shape),
    }
}

fn instance_is_sound(form: &str) -> Result<(), &'static str> {
    let is_known = |word: &str| PLACEHOLDERS.contains(&word);
    let mut parts = form.split('{');
    let is_whole = parts.next().is_some_and(|first| !first.contains('}'));
    let are_known = parts
        .clone()
        .all(|part| part.split_once('}').is_some_and(|(word, rest)| is_known(word) && !rest.contains('}')));
    match parts.next() {
        Some(_) if is_whole && are_known => Ok(()),
        _ => Err("must hold {name} or {id}, and nothing else in braces"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &Config) -> Vec<String> {
        config.faults().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn defaults_have_no_faults() {
        assert_eq!(Config::default().faults(), []);
    }

    #[test]
    fn faults_name_their_keys() {
        let mut config = Config { public_url: Some("hub.example".to_owned()), ..Config::default() };
        config.tls.key = Some("/k.pem".into());
        config.store.retention.events = Period::from_secs(1);
        config.store.retention.runs = Period::from_secs(60);
        config.store.retention.runs_max = 0;
        config.store.quota = ByteSize(1);
        config.limits.item_bytes = ByteSize(1 << 40);
        config.labels.instance = "{host}".to_owned();
        assert_eq!(
            keys(&config),
            [
                "public_url",
                "tls.key",
                "store.quota",
                "store.retention.events",
                "store.retention.runs",
                "store.retention.runs_max",
                "limits.item_bytes",
                "labels.instance"
            ]
        );
    }

    #[test]
    fn public_url_is_an_origin_and_encrypted_off_loopback() {
        for good in
            ["https://hub.example:7700", "https://10.0.0.1", "http://localhost:7700/", "http://[::1]:7700"]
        {
            assert_eq!(url_is_sound(good), Ok(()), "{good}");
        }
        let wrong =
            ["hub.example", "ftp://a", "https://", "https://a:x", "https://a/b", "https://u@a", "http://a"];
        for bad in wrong {
            assert!(url_is_sound(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn instance_is_made_of_name_and_identity() {
        let labels = |instance: &str| Labels { instance: instance.to_owned(), ..Labels::default() };
        assert_eq!(labels("{name}:{id}").instance_of("web1", "5f1c"), "web1:5f1c");
        assert_eq!(labels("{name}").instance_of("{id}", "5f1c"), "{id}");
        for bad in ["", "one", "{name", "{name}}", "}{name}", "{}", "{name} {host}"] {
            assert!(instance_is_sound(bad).is_err(), "{bad}");
        }
        for good in ["{name}", "{id}", "{name}.{id}:7701"] {
            assert_eq!(instance_is_sound(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn address_for_others_follows_the_listener_unless_it_is_set() {
        let mut config = Config::default();
        assert_eq!(config.public_url(config.listen, "web1"), "http://127.0.0.1:7700");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 7700));
        assert_eq!(config.public_url(everywhere, "web1"), "https://web1:7700");
        assert_eq!(config.public_url(SocketAddr::from(([10, 0, 0, 1], 1)), "web1"), "https://10.0.0.1:1");
        config.public_url = Some("https://hub.example".to_owned());
        assert_eq!(config.public_url(config.listen, "web1"), "https://hub.example");
    }
}
