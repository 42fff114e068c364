//! The `scrape` section of hub.yaml: targets that run no agent, in the words of Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fieldpost_model::Period;
use serde::{Deserialize, Deserializer, Serialize};

use super::relabel::{RelabelConfig, is_label};
use crate::http_client::fault_of_url;

/// The longest name of a job.
const NAME_BYTES_MAX: usize = 64;
/// The shortest interval.
pub(super) const INTERVAL_MIN: Period = Period::from_secs(1);
/// What files of targets are called, in small or capital letters.
const FILE_ENDINGS: [&str; 3] = ["json", "yml", "yaml"];

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeJob {
    /// Its name: the label `job` of its series.
    pub job_name: String,
    /// Its targets.
    #[serde(default)]
    pub static_configs: Vec<StaticConfig>,
    /// Files that hold more of them.
    #[serde(default)]
    pub file_sd_configs: Vec<FileSdConfig>,
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
    /// What stands in the address after the `?`.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// A token in the header Authorization.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// A file with a bearer token: an older way to write `authorization`.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Refused.
    #[serde(default, skip_serializing)]
    pub bearer_token: InTheOpen,
    /// A user and a password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// Whom to trust, and as whom to come.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Do the labels of a page win over those of its target?
    #[serde(default)]
    pub honor_labels: bool,
    /// Do the instants of a page count, where it has any?
    #[serde(default = "yes")]
    pub honor_timestamps: bool,
    /// A page with more samples, after `metric_relabel_configs`, is refused as a whole; 0: none is.
    #[serde(default)]
    pub sample_limit: usize,
    /// The same for a sample with more labels.
    #[serde(default)]
    pub label_limit: usize,
    /// The same for the name of a label, bytes.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// The same for the value of a label, bytes.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// What is done to the labels of each target before it is scraped.
    #[serde(default)]
    pub relabel_configs: Vec<RelabelConfig>,
    /// What is done to the labels of each sample before it is stored.
    #[serde(default)]
    pub metric_relabel_configs: Vec<RelabelConfig>,
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

/// Files that hold targets: lists of what `static_configs` has, in YAML or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Their paths; the name may have `*` and `?` in it.
    pub files: Vec<PathBuf>,
    /// How often they are read anew at the latest; a change is seen within seconds.
    #[serde(default = "refresh_interval")]
    pub refresh_interval: Period,
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

impl Scheme {
    /// As it stands in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The word before it.
    #[serde(default = "bearer", rename = "type")]
    pub kind: String,
    /// The file that holds it.
    pub credentials_file: PathBuf,
    /// Refused.
    #[serde(default, skip_serializing)]
    pub credentials: InTheOpen,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The file with the password.
    pub password_file: PathBuf,
    /// Refused.
    #[serde(default, skip_serializing)]
    pub password: InTheOpen,
}

/// Whom to trust, and as whom to come. The files are read when the hub starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A file with the certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A file with the hub's certificate (PEM), for targets that ask for one.
    pub cert_file: Option<PathBuf>,
    /// A file with its key (PEM).
    pub key_file: Option<PathBuf>,
    /// The name that the target's certificate has to have, where it is not that of its address.
    pub server_name: Option<String>,
    /// Trust any certificate: whoever sits between can read and change everything.
    pub insecure_skip_verify: bool,
}

/// A secret that stands in the config itself. It is never taken: what is in the config is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct InTheOpen;

impl<'de> Deserialize<'de> for InTheOpen {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "what is in the config is shown to many: write the secret into a file, and name that by \
             bearer_token_file, credentials_file or password_file",
        ))
    }
}

fn interval() -> Period {
    Period::from_secs(15)
}

fn timeout() -> Period {
    Period::from_secs(10)
}

fn refresh_interval() -> Period {
    Period::from_secs(300)
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

fn bearer() -> String {
    "Bearer".to_owned()
}

fn yes() -> bool {
    true
}

/// What is wrong, each with the path of its key.
type Faults = Vec<(String, String)>;

impl ScrapeJob {
    /// The files it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let token = self.authorization.as_mut().map(|authorization| &mut authorization.credentials_file);
        let password = self.basic_auth.as_mut().map(|basic| &mut basic.password_file);
        let TlsConfig { ca_file, cert_file, key_file, .. } = &mut self.tls_config;
        let targets = self.file_sd_configs.iter_mut().flat_map(|files| &mut files.files);
        let tls = ca_file.iter_mut().chain(cert_file).chain(key_file);
        tls.chain(token).chain(password).chain(&mut self.bearer_token_file).chain(targets)
    }

    /// Does it come with a secret?
    pub(super) fn has_secret(&self) -> bool {
        self.authorization.is_some() || self.bearer_token_file.is_some() || self.basic_auth.is_some()
    }

    fn faults(&self, path: &str, faults: &mut Faults) {
        let mut need = |good: bool, key: &str, text: &str| {
            if !good {
                faults.push((format!("{path}.{key}"), text.to_owned()));
            }
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = &self.job_name;
        let is_named = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_name);
        need(is_named, "job_name", &format!("must be 1 to {NAME_BYTES_MAX} letters, digits, - _ or ."));
        need(self.scrape_interval >= INTERVAL_MIN, "scrape_interval", "must be at least 1s");
        let is_short = self.scrape_timeout <= self.scrape_interval && self.scrape_timeout > Period::default();
        need(is_short, "scrape_timeout", "must be more than 0 and no longer than scrape_interval");
        need(self.metrics_path.starts_with('/'), "metrics_path", "must begin with /");
        let secrets =
            [self.authorization.is_some(), self.bearer_token_file.is_some(), self.basic_auth.is_some()];
        let n_secrets = secrets.into_iter().filter(|is_given| *is_given).count();
        let text = "there are several of authorization, bearer_token_file and basic_auth; give one";
        need(n_secrets <= 1, "job_name", text);
        let TlsConfig { cert_file, key_file, server_name, .. } = &self.tls_config;
        let has_both = cert_file.is_some() == key_file.is_some();
        need(has_both, "tls_config", "must have both of cert_file and key_file, or neither");
        let is_host = |name: &String| {
            fault_of_url(&format!("https://{name}/")).is_none() && name.parse::<std::net::IpAddr>().is_err()
        };
        need(
            server_name.as_ref().is_none_or(is_host),
            "tls_config.server_name",
            "must be the name of a host",
        );
        self.faults_of_targets(path, faults);
        for (key, steps) in [
            ("relabel_configs", &self.relabel_configs),
            ("metric_relabel_configs", &self.metric_relabel_configs),
        ] {
            for (position, step) in steps.iter().enumerate() {
                let fault = step.fault();
                faults.extend(fault.map(|(under, text)| (format!("{path}.{key}[{position}].{under}"), text)));
            }
        }
    }

    fn faults_of_targets(&self, path: &str, faults: &mut Faults) {
        for (position, group) in self.static_configs.iter().enumerate() {
            let key = format!("{path}.static_configs[{position}]");
            for (position, target) in group.targets.iter().enumerate() {
                let fault = self.fault_of_target(target);
                faults.extend(fault.map(|text| (format!("{key}.targets[{position}]"), text)));
            }
            let fault = fault_of_labels(&group.labels);
            faults.extend(fault.map(|text| (format!("{key}.labels"), text)));
        }
        for (position, files) in self.file_sd_configs.iter().enumerate() {
            let key = format!("{path}.file_sd_configs[{position}]");
            if files.refresh_interval < INTERVAL_MIN {
                faults.push((format!("{key}.refresh_interval"), "must be at least 1s".to_owned()));
            }
            for (position, file) in files.files.iter().enumerate() {
                let fault = fault_of_path(file);
                faults.extend(fault.map(|text| (format!("{key}.files[{position}]"), text)));
            }
        }
    }

    fn fault_of_target(&self, target: &str) -> Option<String> {
        // Steps may make an address of anything.
        if !self.relabel_configs.is_empty() {
            return None;
        }
        if !is_address(target) {
            return Some(format!("{target:?} is no target; write host:port"));
        }
        // What is measured may travel in the clear where its owner wants it so; a secret may not.
        let url = format!("{}://{target}/", self.scheme.as_str());
        self.has_secret().then(|| fault_of_url(&url)).flatten()
    }
}

/// May this stand in an address as host and port?
pub(super) fn is_address(target: &str) -> bool {
    !target.is_empty()
        && !target.contains(['/', '\\', '@', '?', '#'])
        && !target.contains(char::is_whitespace)
}

/// What is wrong with the labels of a group.
pub(super) fn fault_of_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    let name = labels.keys().find(|name| !is_label(name))?;
    Some(format!("{name:?} is no name of a label"))
}

fn fault_of_path(path: &std::path::Path) -> Option<String> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !FILE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
        return Some("must end in .json, .yml or .yaml".to_owned());
    }
    let folder = path.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let is_wild = folder.contains(['*', '?', '[']);
    is_wild.then(|| "may have * and ? in the name of the file, not in those of folders".to_owned())
}

/// What is wrong with the section, each with the path of its key.
pub fn faults(jobs: &[ScrapeJob]) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (position, job) in jobs.iter().enumerate() {
        let path = format!("scrape[{position}]");
        job.faults(&path, &mut faults);
        if !names.insert(&job.job_name) {
            let text = format!("{:?} is there twice; each job needs its own name", job.job_name);
            faults.push((format!("{path}.job_name"), text));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_key_and_secrets_stay_off_the_open_line() {
        let job = |more: &serde_json::Value| -> ScrapeJob {
            let mut all =
                serde_json::json!({"job_name": "a", "static_configs": [{"targets": ["web1:9100"]}]});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(all).unwrap()
        };
        assert_eq!(faults(&[job(&serde_json::json!({}))]), []);
        let secret = serde_json::json!({"authorization": {"credentials_file": "/x"}});
        for (more, key, wrong) in [
            (serde_json::json!({"job_name": "a b"}), "job_name", "must be 1 to 64 letters"),
            (serde_json::json!({"scrape_interval": "5s"}), "scrape_timeout", "no longer than"),
            (serde_json::json!({"metrics_path": "x"}), "metrics_path", "must begin with /"),
            (
                serde_json::json!({"static_configs": [{"targets": ["http://a"]}]}),
                "static_configs[0].targets[0]",
                "is no target; write host:port",
            ),
            (secret, "static_configs[0].targets[0]", "web1 is not this machine: write https"),
            (
                serde_json::json!({"file_sd_configs": [{"files": ["/a/*/b.yml"]}]}),
                "file_sd_configs[0].files[0]",
                "not in those of folders",
            ),
            (
                serde_json::json!({"metric_relabel_configs": [{}, {"action": "hashmod"}],
                    "relabel_configs": [{"target_label": "a"}]}),
                "metric_relabel_configs[0].action",
                "replace needs target_label",
            ),
        ] {
            let found = faults(&[job(&more)]);
            let (at, text) = &found[0];
            assert!(*at == format!("scrape[0].{key}") && text.contains(wrong), "{found:?}");
        }
    }

    #[test]
    fn secrets_in_the_config_itself_are_refused() {
        let open = serde_json::json!({"job_name": "a", "bearer_token": "x"});
        let error = serde_json::from_value::<ScrapeJob>(open).unwrap_err().to_string();
        assert!(error.starts_with("what is in the config is shown to many: write the secret into a file"));
    }
}
