//! The samples of a page as they are stored: with the labels of their target, after the steps of the
//! job, within its limits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use anyhow::{bail, ensure};
use fieldpost_formats::pushed::NAME_LABEL;
use fieldpost_formats::{ParsedFamily, Sample};
use fieldpost_model::{Kind, TimeMs};

use super::config::ScrapeJob;
use super::relabel::{Labels, relabel};

/// Before the name of a label of the page that its target has as well.
const EXPORTED: &str = "exported_";

/// A series of a page.
pub(super) struct Scraped {
    pub(super) kind: Kind,
    pub(super) help: Arc<str>,
    pub(super) sample: Sample,
    /// Does the page itself say when it was measured?
    pub(super) is_dated: bool,
}

/// The series of a page, by their labels.
pub(super) type Series = HashMap<Labels, Scraped>;

/// What became of a page.
pub(super) struct Page {
    /// Samples on it.
    pub(super) n_scraped: usize,
    /// Those that no step dropped.
    pub(super) n_kept: usize,
    /// What is stored, or why nothing is.
    pub(super) series: anyhow::Result<Series>,
}

impl Page {
    /// One that was not got or cannot be read.
    pub(super) fn failed(error: anyhow::Error) -> Self {
        Self { n_scraped: 0, n_kept: 0, series: Err(error) }
    }

    /// One with these families.
    pub(super) fn new(
        families: Vec<ParsedFamily>,
        target: &Labels,
        job: &ScrapeJob,
        time_ms: TimeMs,
    ) -> Self {
        let mut page = Self { n_scraped: 0, n_kept: 0, series: Ok(Series::new()) };
        page.series = page.take(families, target, job, time_ms);
        page
    }

    fn take(
        &mut self,
        families: Vec<ParsedFamily>,
        target: &Labels,
        job: &ScrapeJob,
        time_ms: TimeMs,
    ) -> anyhow::Result<Series> {
        let mut series = Series::new();
        for family in families {
            let help: Arc<str> = family.help.unwrap_or_default().into();
            for sample in family.samples {
                self.n_scraped += 1;
                let mut labels: Labels = sample.labels.into_iter().collect();
                labels.insert(NAME_LABEL.to_owned(), format!("{}{}", family.name, sample.suffix));
                let mut labels = with_target(labels, target, job.honor_labels);
                if !relabel(&job.metric_relabel_configs, &mut labels) || labels.is_empty() {
                    continue;
                }
                ensure!(labels.contains_key(NAME_LABEL), "metric_relabel_configs take a sample's name away");
                check(&labels, job)?;
                self.n_kept += 1;
                let own_ms = sample.time_ms.filter(|_| job.honor_timestamps);
                let sample =
                    Sample { time_ms: own_ms.unwrap_or(time_ms), value: sample.value, start_ms: None };
                let (help, is_dated) = (Arc::clone(&help), own_ms.is_some());
                // Steps may make one of two: then the first one stays.
                if let Entry::Vacant(entry) = series.entry(labels) {
                    entry.insert(Scraped { kind: family.kind, help, sample, is_dated });
                }
            }
        }
        let (n_kept, limit) = (self.n_kept, job.sample_limit);
        ensure!(limit == 0 || n_kept <= limit, "its page has {n_kept} samples, sample_limit is {limit}");
        Ok(series)
    }
}

/// Of labels that page and target both have, one or the other wins.
fn with_target(mut labels: Labels, target: &Labels, honor_labels: bool) -> Labels {
    let mut displaced = Vec::new();
    for (name, value) in target {
        match labels.get(name) {
            // An empty one of the page says that there shall be none.
            Some(_) if honor_labels => continue,
            Some(own) if !own.is_empty() => displaced.push((name, own.clone())),
            _ => {}
        }
        labels.insert(name.clone(), value.clone());
    }
    labels.retain(|_, value| !value.is_empty());
    displaced.sort_by_key(|(name, _)| name.len());
    for (name, own) in displaced {
        let mut name = format!("{EXPORTED}{name}");
        while labels.contains_key(&name) {
            name.insert_str(0, EXPORTED);
        }
        labels.insert(name, own);
    }
    labels
}

/// Is a sample within the limits of the job?
fn check(labels: &Labels, job: &ScrapeJob) -> anyhow::Result<()> {
    let name = labels.get(NAME_LABEL).map_or("", String::as_str);
    if job.label_limit > 0 && labels.len() > job.label_limit {
        bail!("{name} has {} labels, label_limit is {}", labels.len(), job.label_limit);
    }
    let (of_name, of_value) = (job.label_name_length_limit, job.label_value_length_limit);
    for (label, value) in labels.iter().filter(|_| of_name > 0 || of_value > 0) {
        if of_name > 0 && label.len() > of_name {
            bail!("{name}: {label:?} has {} bytes, label_name_length_limit is {of_name}", label.len());
        }
        if of_value > 0 && value.len() > of_value {
            bail!("{name}: {label} has {} bytes, label_value_length_limit is {of_value}", value.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fieldpost_formats::parse;

    use super::*;

    fn page(text: &str, job: &str) -> Page {
        let job: ScrapeJob = serde_json::from_str(&format!(r#"{{"job_name": "j"{job}}}"#)).unwrap();
        let target = [("job", "j"), ("instance", "i")];
        let target = target.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Page::new(parse(text.as_bytes()).unwrap(), &target, &job, 9)
    }

    fn told(page: Page) -> Vec<String> {
        let shown = |(labels, scraped): (Labels, Scraped)| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {} {}", labels.join(","), scraped.sample.value, scraped.sample.time_ms)
        };
        let mut all: Vec<String> = page.series.unwrap().into_iter().map(shown).collect();
        all.sort();
        all
    }

    const TEXT: &str =
        "# TYPE x_total counter\nx_total{job=\"own\",a=\"\"} 3\nx_total{b=\"1\",instance=\"\"} 4 5000\n";

    #[test]
    fn labels_of_the_target_win_unless_those_of_the_page_are_honoured() {
        assert_eq!(
            told(page(TEXT, "")),
            [
                "__name__=x_total,b=1,instance=i,job=j 4 5000",
                "__name__=x_total,exported_job=own,instance=i,job=j 3 9"
            ]
        );
        assert_eq!(
            told(page(TEXT, r#", "honor_labels": true, "honor_timestamps": false"#)),
            ["__name__=x_total,b=1,job=j 4 9", "__name__=x_total,instance=i,job=own 3 9"]
        );
        let twice = "x{exported_job=\"a\",job=\"b\"} 1\n";
        assert_eq!(
            told(page(twice, "")),
            ["__name__=x,exported_exported_job=b,exported_job=a,instance=i,job=j 1 9"]
        );
    }

    #[test]
    fn dropped_samples_are_counted_and_limits_refuse_the_page() {
        let dropped =
            r#", "metric_relabel_configs": [{"source_labels": ["b"], "regex": "1", "action": "drop"}]"#;
        let kept = page(TEXT, dropped);
        assert_eq!((kept.n_scraped, kept.n_kept), (2, 1));
        for (job, wrong) in [
            (r#", "sample_limit": 1"#, "its page has 2 samples, sample_limit is 1"),
            (r#", "label_limit": 3"#, "x_total has 4 labels, label_limit is 3"),
            (r#", "label_value_length_limit": 6"#, "has 7 bytes, label_value_length_limit is 6"),
            (r#", "metric_relabel_configs": [{"regex": "__name__", "action": "labeldrop"}]"#, "name away"),
        ] {
            let error = page(TEXT, job).series.err().unwrap().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let limited = format!("{dropped}, \"sample_limit\": 1");
        assert!(page(TEXT, &limited).series.is_ok());
    }
}
