//! The `sinks` section of agent.yaml.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fieldpost_model::Selector;
use serde::{Deserialize, Serialize};

use super::CURSOR_PREFIX;
use crate::http_client::fault_of_url;

/// The longest name of a sink.
const NAME_BYTES_MAX: usize = 64;
/// More sinks than this are a mistake; each holds the store back while its receiver is away.
const N_SINKS_MAX: usize = 16;

/// One sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its name, by which it remembers how far it is.
    pub name: String,
    /// What is spoken.
    pub kind: Kind,
    /// Where to.
    pub url: String,
    /// Which series; none named: all.
    #[serde(default, rename = "match")]
    pub selectors: Vec<String>,
    /// Labels that every series gets; `instance` and `job` unless they are named here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Which remote write.
    #[serde(default)]
    pub protocol: Protocol,
    /// Headers whose values are in files.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// A file with a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// A user, and a file with the password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// A file with the certificates (PEM) that are trusted instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// What is spoken to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Remote write of Prometheus.
    RemoteWrite,
    /// OTLP over HTTP.
    Otlp,
}

/// Which remote write is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// 2.0, or 1.0 if the receiver does not understand it.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 1.0.
    #[serde(rename = "1.0")]
    V1,
    /// 2.0.
    #[serde(rename = "2.0")]
    V2,
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

impl Sink {
    /// The name of its cursor in the store.
    pub fn cursor(&self) -> String {
        format!("{CURSOR_PREFIX}{}", self.name)
    }

    /// The files it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let password = self.basic_auth.as_mut().map(|basic| &mut basic.password_file);
        let named = self.bearer_token_file.iter_mut().chain(self.ca_file.iter_mut()).chain(password);
        named.chain(self.header_files.values_mut())
    }

    fn fault(&self) -> Option<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(is_name) {
            return Some(format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, - _ or ."));
        }
        let selector = self.selectors.iter().find_map(|text| Selector::parse(text).err());
        if let Some(error) = selector {
            return Some(format!("match: {error}"));
        }
        if self.bearer_token_file.is_some() && self.basic_auth.is_some() {
            return Some("it has both bearer_token_file and basic_auth; give one".to_owned());
        }
        let header = self.header_files.keys().find(|name| http::HeaderName::try_from(name.as_str()).is_err());
        if let Some(name) = header {
            return Some(format!("header_files: {name:?} is no name of a header"));
        }
        fault_of_url(&self.url).map(|fault| format!("url: {fault}"))
    }
}

/// What is wrong with the section: texts that name the sink.
pub fn faults(sinks: &[Sink]) -> Vec<String> {
    let named = |sink: &Sink| sink.fault().map(|fault| format!("{:?}: {fault}", sink.name));
    let mut faults: Vec<String> = sinks.iter().filter_map(named).collect();
    let mut names = BTreeSet::new();
    let twice = sinks.iter().filter(|sink| !names.insert(&sink.name));
    faults.extend(twice.map(|sink| format!("{:?} is there twice; each sink needs its own name", sink.name)));
    if sinks.len() > N_SINKS_MAX {
        faults.push(format!("there are {}; at most {N_SINKS_MAX} are served", sinks.len()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(more: &serde_json::Value) -> Sink {
        let mut all =
            serde_json::json!({"name": "a", "kind": "remote_write", "url": "https://a.example/write"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn faults_name_the_sink_and_what_to_do() {
        assert_eq!(faults(&[sink(&serde_json::json!({}))]), Vec::<String>::new());
        for (more, wrong) in [
            (serde_json::json!({"name": "a b"}), "\"a b\": a name has 1 to 64 letters"),
            (serde_json::json!({"url": "http://a.example"}), "\"a\": url: a.example is not this machine"),
            (serde_json::json!({"match": ["{"]}), "\"a\": match: \"{\" is no selector"),
            (serde_json::json!({"header_files": {"a b": "/x"}}), "header_files: \"a b\" is no name"),
            (
                serde_json::json!({"bearer_token_file": "/x", "basic_auth": {"username": "u", "password_file": "/y"}}),
                "it has both bearer_token_file and basic_auth",
            ),
        ] {
            let found = faults(&[sink(&more)]);
            assert!(found.len() == 1 && found[0].contains(wrong), "{found:?}");
        }
        let twice = [sink(&serde_json::json!({})), sink(&serde_json::json!({}))];
        assert!(faults(&twice)[0].contains("is there twice"));
    }
}
