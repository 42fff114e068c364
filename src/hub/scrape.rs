//! Scrapes targets that run no agent, as a Prometheus does: their series with the labels of job and target,
//! `up` and the other series about the scrape itself, and the end of each series that is gone.

mod config;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use fieldpost_formats::parse::{TEXT_BYTES_MAX, parse};
use fieldpost_formats::pushed::Label;
use fieldpost_formats::{Metadata, ParsedFamily, Pushed, PushedSeries, Sample};
use fieldpost_model::{ABSENT, Kind, TimeMs};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Authorization, BasicAuth, Scheme, ScrapeJob, StaticConfig, TlsConfig, faults};

use super::Hub;
use crate::http_client::{Credential, PageClient};

/// What is asked for: the format that is read.
const ACCEPT: &str = "text/plain;version=0.0.4";

type Labels = BTreeMap<String, String>;

/// A series of a page.
struct Scraped {
    kind: Kind,
    help: Arc<str>,
    sample: Sample,
    /// Does the page itself say when it was measured?
    is_dated: bool,
}

/// The series of a page, by their labels.
type Page = HashMap<Labels, Scraped>;

/// One target.
struct Target {
    hub: Arc<Hub>,
    job: Arc<ScrapeJob>,
    client: Arc<PageClient>,
    url: String,
    labels: Labels,
    /// What the last page had, but for what is dated.
    known: Vec<Labels>,
    is_failing: bool,
}

/// Scrapes all targets until the end.
pub async fn scrape(hub: Arc<Hub>, jobs: Vec<ScrapeJob>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    for job in jobs {
        match targets(&hub, job) {
            Ok(targets) => targets.into_iter().for_each(|target| {
                tasks.spawn(target.run(shutdown.clone()));
            }),
            Err(error) => tracing::error!("a job is not scraped: {error:#}"),
        }
    }
    tasks.close();
    tasks.wait().await;
}

fn targets(hub: &Arc<Hub>, job: ScrapeJob) -> anyhow::Result<Vec<Target>> {
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("{}: cannot read {}", job.job_name, path.display()))
    };
    let ca = job.tls_config.ca_file.as_ref().map(read).transpose()?;
    let client = Arc::new(PageClient::new(ca.as_deref(), job.scrape_timeout.0)?);
    let job = Arc::new(job);
    let mut targets = Vec::new();
    for group in &job.static_configs {
        for target in &group.targets {
            let mut labels = group.labels.clone();
            labels.entry("instance".to_owned()).or_insert_with(|| target.clone());
            labels.entry("job".to_owned()).or_insert_with(|| job.job_name.clone());
            targets.push(Target {
                hub: Arc::clone(hub),
                client: Arc::clone(&client),
                url: job.url(target),
                job: Arc::clone(&job),
                labels,
                known: Vec::new(),
                is_failing: false,
            });
        }
    }
    Ok(targets)
}

impl Target {
    async fn run(mut self, shutdown: CancellationToken) {
        let every = self.job.scrape_interval.0;
        // Targets are spread over the interval, each at its own place.
        let mut hasher = DefaultHasher::new();
        self.url.hash(&mut hasher);
        let offset = every.mul_f64((hasher.finish() % 1_000) as f64 / 1_000.0);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.turn() => {}
            }
        }
    }

    async fn turn(&mut self) {
        let (begun, time_ms) = (Instant::now(), self.hub.now_ms());
        let page = self.page(time_ms).await;
        let seconds = begun.elapsed().as_secs_f64();
        match (&page, self.is_failing) {
            (Err(error), false) => {
                tracing::warn!(
                    target_url = self.url,
                    error = format!("{error:#}"),
                    "a target cannot be scraped"
                );
            }
            (Ok(_), true) => tracing::info!(target_url = self.url, "a target is scraped again"),
            _ => {}
        }
        self.is_failing = page.is_err();
        let up = f64::from(u8::from(page.is_ok()));
        let page = page.unwrap_or_default();
        let gone: Vec<Labels> =
            self.known.iter().filter(|labels| !page.contains_key(*labels)).cloned().collect();
        let n_before = self.known.len() - gone.len();
        let undated = page.iter().filter(|(_, scraped)| !scraped.is_dated);
        self.known = undated.map(|(labels, _)| labels.clone()).collect();
        let n_samples = page.len() as f64;
        let about = [
            ("up", up),
            ("scrape_duration_seconds", seconds),
            ("scrape_samples_scraped", n_samples),
            ("scrape_samples_post_metric_relabeling", n_samples),
            ("scrape_series_added", self.known.len().saturating_sub(n_before) as f64),
        ];
        let about = about.map(|(name, value)| (self.named(name), value)).to_vec();
        self.store(time_ms, page, gone, about).await;
    }

    fn named(&self, name: &str) -> Labels {
        let mut labels = self.labels.clone();
        labels.insert("__name__".to_owned(), name.to_owned());
        labels
    }

    async fn page(&self, time_ms: TimeMs) -> anyhow::Result<Page> {
        let job = Arc::clone(&self.job);
        let credential = tokio::task::spawn_blocking(move || credential(&job)).await??;
        let text = self.client.get(&self.url, ACCEPT, credential.as_ref(), TEXT_BYTES_MAX).await?;
        let (job, labels) = (Arc::clone(&self.job), self.labels.clone());
        tokio::task::spawn_blocking(move || {
            let families = parse(&text).context("its page is not in the text format")?;
            let limit = job.sample_limit;
            let n_samples: usize = families.iter().map(|family| family.samples.len()).sum();
            ensure!(
                limit == 0 || n_samples <= limit,
                "its page has {n_samples} samples, sample_limit is {limit}"
            );
            Ok(labelled(families, &labels, job.honor_labels, time_ms))
        })
        .await?
    }

    async fn store(&self, time_ms: TimeMs, page: Page, gone: Vec<Labels>, about: Vec<(Labels, f64)>) {
        let gauge = Metadata { kind: Kind::Gauge, help: "", unit: "" };
        let at = move |value| Sample { time_ms, value, start_ms: None };
        let stored =
            Arc::clone(&self.hub).store_own(super::pushed::scraped(&self.job.job_name), move |_, visit| {
                for (labels, scraped) in &page {
                    let metadata = Metadata { kind: scraped.kind, help: &scraped.help, unit: "" };
                    say(labels, Some(metadata), scraped.sample, visit);
                }
                gone.iter().for_each(|labels| say(labels, None, at(ABSENT), visit));
                about.iter().for_each(|(labels, value)| say(labels, Some(gauge), at(*value), visit));
                Ok(())
            });
        match stored.await {
            Ok(refused) if refused.is_any() => {
                tracing::warn!(target_url = self.url, reason = %refused, "not all of a target is stored");
            }
            Ok(_) => {}
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(target_url = self.url, error, "a scrape is not stored");
            }
        }
    }
}

fn say(labels: &Labels, metadata: Option<Metadata<'_>>, sample: Sample, visit: &mut dyn FnMut(Pushed<'_>)) {
    let labels: Vec<Label<'_>> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    visit(Pushed::Series(PushedSeries { labels: &labels, metadata, samples: &[sample] }));
}

/// The series of a page with the labels of its target. Of what the page says itself under the same names,
/// one or the other wins.
fn labelled(families: Vec<ParsedFamily>, target: &Labels, honor_labels: bool, time_ms: TimeMs) -> Page {
    let mut page = Page::new();
    for family in families {
        let help: Arc<str> = family.help.unwrap_or_default().into();
        for sample in family.samples {
            let mut labels: Labels =
                sample.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            labels.insert("__name__".to_owned(), format!("{}{}", family.name, sample.suffix));
            for (name, value) in target {
                match labels.remove(name) {
                    Some(own) if honor_labels => labels.insert(name.clone(), own),
                    Some(own) => {
                        labels.insert(format!("exported_{name}"), own);
                        labels.insert(name.clone(), value.clone())
                    }
                    None => labels.insert(name.clone(), value.clone()),
                };
            }
            labels.retain(|_, value| !value.is_empty());
            let is_dated = sample.time_ms.is_some();
            let time_ms = sample.time_ms.unwrap_or(time_ms);
            let sample = Sample { time_ms, value: sample.value, start_ms: None };
            page.insert(labels, Scraped { kind: family.kind, help: Arc::clone(&help), sample, is_dated });
        }
    }
    page
}

/// Read anew for each scrape, for files may change.
fn credential(job: &ScrapeJob) -> anyhow::Result<Option<Credential>> {
    let secret = |path: &Path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.trim().to_owned())
    };
    Ok(match (&job.authorization, &job.basic_auth) {
        (Some(authorization), _) => Some(Credential::Bearer(secret(&authorization.credentials_file)?)),
        (None, Some(basic)) => Some(Credential::Basic(basic.username.clone(), secret(&basic.password_file)?)),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_target_win_unless_those_of_the_page_are_honoured() {
        let target: Labels =
            [("job".to_owned(), "j".to_owned()), ("instance".to_owned(), "i".to_owned())].into();
        let text = b"# TYPE x_total counter\nx_total{job=\"own\",a=\"\"} 3\nx_total{b=\"1\"} 4 5000\n";
        let told = |honor| {
            let page = labelled(parse(text).unwrap(), &target, honor, 9);
            let mut all: Vec<String> = page
                .iter()
                .map(|(labels, scraped)| {
                    let labels: Vec<_> =
                        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!("{} {} {}", labels.join(","), scraped.sample.value, scraped.sample.time_ms)
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(
            told(false),
            [
                "__name__=x_total,b=1,instance=i,job=j 4 5000",
                "__name__=x_total,exported_job=own,instance=i,job=j 3 9"
            ]
        );
        assert!(told(true).contains(&"__name__=x_total,instance=i,job=own 3 9".to_owned()));
    }
}
