//! What a target's labels make of it, as Prometheus reads them: where its page is, how often it is
//! got, and the labels that its series have.

use std::time::Duration;

use anyhow::{Context, ensure};
use fieldpost_model::Period;

use super::config::{INTERVAL_MIN, Scheme, ScrapeJob, is_address};
use super::relabel::{Labels, relabel};
use crate::http_client::{fault_of_url, page_url};

/// Labels whose names begin so are gone once the target's are made.
const HIDDEN: &str = "__";
const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAMETER: &str = "__param_";
/// The file that a target is of.
pub(super) const FILE: &str = "__meta_filepath";

/// A target as its labels make it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aim {
    /// The address of its page.
    pub(super) url: String,
    /// The host of it.
    pub(super) host: String,
    /// What its series have.
    pub(super) labels: Labels,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
}

impl Aim {
    /// The target of this address with these labels of its group; none if the job's steps drop it.
    pub(super) fn new(job: &ScrapeJob, address: &str, group: &Labels) -> anyhow::Result<Option<Self>> {
        let mut labels = before(job, address, group);
        if !relabel(&job.relabel_configs, &mut labels) {
            return Ok(None);
        }
        let text = |name: &str| labels.get(name).map_or("", String::as_str);
        let scheme = match text(SCHEME) {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => anyhow::bail!("{address}: {SCHEME} is {other:?}; it must be http or https"),
        };
        let target = text(ADDRESS);
        ensure!(is_address(target), "{address}: {ADDRESS} is {target:?}; it must be host:port");
        let target = with_port(target, scheme);
        let parameters = parameters(job, &labels);
        let pairs = parameters.iter().map(|(name, value)| (*name, *value));
        let url = page_url(scheme.as_str(), &target, text(PATH), pairs)?;
        // A secret does not travel in the clear, whatever the steps made of the address.
        let fault = job.has_secret().then(|| fault_of_url(&url)).flatten();
        ensure!(fault.is_none(), "{address}: {}", fault.unwrap_or_default());
        let period = |name: &str| -> anyhow::Result<Period> {
            text(name).parse().with_context(|| format!("{address}: {name} cannot be used"))
        };
        let (every, timeout) = (period(INTERVAL)?, period(TIMEOUT)?);
        let is_sound = every >= INTERVAL_MIN && timeout <= every && timeout > Period::default();
        ensure!(
            is_sound,
            "{address}: {INTERVAL} is {every}, {TIMEOUT} is {timeout}; 0 < timeout <= interval"
        );
        labels.retain(|name, _| !name.starts_with(HIDDEN));
        labels.entry("instance".to_owned()).or_insert_with(|| target.clone());
        let host = host_of(&target).to_owned();
        Ok(Some(Self { url, host, labels, every: every.0, timeout: timeout.0 }))
    }
}

/// The labels that the job's steps begin with.
fn before(job: &ScrapeJob, address: &str, group: &Labels) -> Labels {
    let mut labels: Labels = group.clone();
    labels.insert(ADDRESS.to_owned(), address.to_owned());
    labels.retain(|_, value| !value.is_empty());
    for (name, value) in [
        ("job", job.job_name.clone()),
        (INTERVAL, job.scrape_interval.to_string()),
        (TIMEOUT, job.scrape_timeout.to_string()),
        (PATH, job.metrics_path.clone()),
        (SCHEME, job.scheme.as_str().to_owned()),
    ] {
        labels.entry(name.to_owned()).or_insert(value);
    }
    for (name, values) in &job.params {
        if let Some(value) = values.first().filter(|value| !value.is_empty()) {
            labels.insert(format!("{PARAMETER}{name}"), value.clone());
        }
    }
    labels
}

/// What stands after the `?`: of each name the first value is its label's.
fn parameters<'a>(job: &'a ScrapeJob, labels: &'a Labels) -> Vec<(&'a str, &'a str)> {
    let mut all: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, values) in &job.params {
        all.insert(name, values.iter().map(String::as_str).collect());
    }
    for (name, value) in labels {
        if let Some(name) = name.strip_prefix(PARAMETER) {
            let values = all.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    all.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name, value))).collect()
}

/// The usual port, where none is given.
fn with_port(address: &str, scheme: Scheme) -> String {
    let after = address.rsplit(']').next().unwrap_or_default();
    match (after.contains(':'), scheme) {
        (true, _) => address.to_owned(),
        (false, Scheme::Http) => format!("{address}:80"),
        (false, Scheme::Https) => format!("{address}:443"),
    }
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(json: &str) -> ScrapeJob {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn labels_make_the_address_and_those_of_two_lines_are_gone() {
        // As the documentation of blackbox_exporter has it.
        let job = job(
            r#"{"job_name": "probe", "metrics_path": "/probe", "params": {"module": ["http_2xx"], "x": ["1", "2 3"]},
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"source_labels": ["__meta_filepath"], "regex": ".*/(.*)\\.yml", "target_label": "file"},
                {"target_label": "__scrape_interval__", "replacement": "1m"},
                {"target_label": "__address__", "replacement": "127.0.0.1:9115"}]}"#,
        );
        let group = [(FILE.to_owned(), "/a/b.yml".to_owned()), ("site".to_owned(), "berlin".to_owned())];
        let aim = Aim::new(&job, "http://web/?a=b", &group.into()).unwrap().unwrap();
        assert_eq!(
            aim.url,
            "http://127.0.0.1:9115/probe?module=http_2xx&target=http%3A%2F%2Fweb%2F%3Fa%3Db&x=1&x=2+3"
        );
        assert_eq!((aim.every.as_secs(), aim.timeout.as_secs(), aim.host.as_str()), (60, 10, "127.0.0.1"));
        let labels: Vec<_> = aim.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["file=b", "instance=http://web/?a=b", "job=probe", "site=berlin"]);
    }

    #[test]
    fn ports_are_added_and_what_cannot_be_scraped_is_told() {
        let of = |more: &str, address: &str| {
            Aim::new(&job(&format!(r#"{{"job_name": "a"{more}}}"#)), address, &Labels::new())
        };
        let instance =
            |more: &str, address: &str| of(more, address).unwrap().unwrap().labels["instance"].clone();
        assert_eq!(instance("", "web1"), "web1:80");
        assert_eq!(instance(r#", "scheme": "https""#, "[::1]"), "[::1]:443");
        assert_eq!(instance("", "[::1]:9100"), "[::1]:9100");
        let wrong = |more: &str, address: &str| of(more, address).unwrap_err().to_string();
        assert!(wrong("", "a/b").contains("it must be host:port"));
        let steps = |steps: &str| format!(r#", "relabel_configs": [{steps}]"#);
        let slow = steps(r#"{"target_label": "__scrape_timeout__", "replacement": "1h"}"#);
        assert!(wrong(&slow, "a:1").contains("0 < timeout <= interval"));
        let open = format!(
            r#", "authorization": {{"credentials_file": "/x"}}{}"#,
            steps(r#"{"target_label": "__scheme__", "replacement": "http"}"#)
        );
        assert!(wrong(&open, "web1:9100").contains("plain HTTP is for loopback only"));
        let dropped = steps(r#"{"source_labels": ["job"], "regex": "a", "action": "drop"}"#);
        assert!(of(&dropped, "a:1").unwrap().is_none());
    }
}
