//! The `scrape` section of hub.yaml: targets that run no agent, in the words of Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fieldpost_model::Period;
use serde::{Deserialize, Serialize};

use crate::http_client::fault_of_url;

/// The longest name of a job.
const NAME_BYTES_MAX: usize = 64;
/// The shortest interval.
const INTERVAL_MIN: Period = Period::from_secs(1);

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeJob {
    /// Its name: the label `job` of its series.
    pub job_name: String,
    /// Its targets.
    pub static_configs: Vec<StaticConfig>,
    /// How often each is scraped.
    #[serde(default = "interval")]
    pub scrape_interval: Period,
    /// The longest that a target may take.
    #[serde(default = "timeout")]
    pub scrape_timeout: Period,
    /// http or https.
    #[serde(default)]
    pub scheme: Scheme,
    /// Where the page is.
    #[serde(default = "metrics_path")]
    pub metrics_path: String,
    /// A bearer token.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// A user and a password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// Whom to trust.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Do the labels of a page win over those of its target?
    #[serde(default)]
    pub honor_labels: bool,
    /// A page with more samples is refused as a whole; 0: none is.
    #[serde(default)]
    pub sample_limit: usize,
}

/// Targets with the labels that they get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticConfig {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels of their series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How a page is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// With TLS.
    Https,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The file that holds it.
    pub credentials_file: PathBuf,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The file with the password.
    pub password_file: PathBuf,
}

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A file with the certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

fn interval() -> Period {
    Period::from_secs(15)
}

fn timeout() -> Period {
    Period::from_secs(10)
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

impl ScrapeJob {
    /// The address of a target's page.
    pub fn url(&self, target: &str) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        format!("{scheme}://{target}{}", self.metrics_path)
    }

    /// The files it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let token = self.authorization.as_mut().map(|authorization| &mut authorization.credentials_file);
        let password = self.basic_auth.as_mut().map(|basic| &mut basic.password_file);
        self.tls_config.ca_file.iter_mut().chain(token).chain(password)
    }

    fn targets(&self) -> impl Iterator<Item = &String> {
        self.static_configs.iter().flat_map(|group| &group.targets)
    }

    fn fault(&self) -> Option<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = &self.job_name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_name) {
            return Some(format!("job_name has 1 to {NAME_BYTES_MAX} letters, digits, - _ or ."));
        }
        if self.scrape_interval < INTERVAL_MIN || self.scrape_timeout > self.scrape_interval {
            return Some("scrape_interval is 1s or more, and scrape_timeout no longer than it".to_owned());
        }
        if !self.metrics_path.starts_with('/') {
            return Some("metrics_path begins with /".to_owned());
        }
        if self.authorization.is_some() && self.basic_auth.is_some() {
            return Some("it has both authorization and basic_auth; give one".to_owned());
        }
        let has_secret = self.authorization.is_some() || self.basic_auth.is_some();
        self.targets().find_map(|target| {
            if target.is_empty() || target.contains(['/', '@', ' ', '?', '#']) {
                return Some(format!("{target:?} is no target; write host:port"));
            }
            // What is measured may travel in the clear where its owner wants it so; a secret may not.
            has_secret.then(|| fault_of_url(&self.url(target))).flatten()
        })
    }
}

/// What is wrong with the section: texts that name the job.
pub fn faults(jobs: &[ScrapeJob]) -> Vec<String> {
    let named = |job: &ScrapeJob| job.fault().map(|fault| format!("{:?}: {fault}", job.job_name));
    let mut faults: Vec<String> = jobs.iter().filter_map(named).collect();
    let mut names = BTreeSet::new();
    let twice = jobs.iter().filter(|job| !names.insert(&job.job_name));
    faults.extend(twice.map(|job| format!("{:?} is there twice; each job needs its own name", job.job_name)));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_job_and_secrets_stay_off_the_open_line() {
        let job = |more: &serde_json::Value| -> ScrapeJob {
            let mut all =
                serde_json::json!({"job_name": "a", "static_configs": [{"targets": ["web1:9100"]}]});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(all).unwrap()
        };
        assert_eq!(faults(&[job(&serde_json::json!({}))]), Vec::<String>::new());
        for (more, wrong) in [
            (serde_json::json!({"job_name": "a b"}), "\"a b\": job_name has 1 to 64 letters"),
            (serde_json::json!({"scrape_interval": "5s"}), "scrape_timeout no longer than it"),
            (serde_json::json!({"metrics_path": "x"}), "metrics_path begins with /"),
            (
                serde_json::json!({"static_configs": [{"targets": ["http://a"]}]}),
                "is no target; write host:port",
            ),
            (
                serde_json::json!({"authorization": {"credentials_file": "/x"}}),
                "web1 is not this machine: write https",
            ),
        ] {
            let found = faults(&[job(&more)]);
            assert!(found.len() == 1 && found[0].contains(wrong), "{found:?}");
        }
    }
}
