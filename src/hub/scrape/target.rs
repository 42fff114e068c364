//! One target: its page once an interval, with `up` and the other series about the scrape itself, and
//! the end of each series that is gone.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use fieldpost_formats::parse::{TEXT_BYTES_MAX, parse};
use fieldpost_formats::pushed::{Label, NAME_LABEL};
use fieldpost_formats::{Metadata, Pushed, PushedSeries, Sample};
use fieldpost_model::{ABSENT, Kind, TimeMs};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::aim::Aim;
use super::config::{Authorization, ScrapeJob};
use super::page::{Page, Series};
use super::relabel::Labels;
use super::{Hub, Stop};
use crate::http_client::{Credential, PageClient};

/// What is asked for: the format that is read.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain;version=0.0.4");
/// Tells a target how long it has, as Prometheus does; blackbox_exporter goes by it.
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// The series about a scrape.
const ABOUT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// One target.
pub(super) struct Target {
    hub: Arc<Hub>,
    job: Arc<ScrapeJob>,
    client: Arc<PageClient>,
    aim: Aim,
    /// What the last page had, but for what is dated.
    known: Vec<Labels>,
    /// Hashes of all that the last good page had.
    seen: HashSet<u64>,
    was_scraped: bool,
    is_failing: bool,
}

impl Target {
    pub(super) fn new(hub: Arc<Hub>, job: Arc<ScrapeJob>, client: Arc<PageClient>, aim: Aim) -> Self {
        let (known, seen) = (Vec::new(), HashSet::new());
        Self { hub, job, client, aim, known, seen, was_scraped: false, is_failing: false }
    }

    /// Scrapes until it is gone or the hub ends.
    pub(super) async fn run(mut self, stop: Stop, shutdown: CancellationToken) {
        let every = self.aim.every;
        // Targets are spread over the interval, each at its own place.
        let place = hash(&self.aim.url) % 1_000;
        let offset = every.mul_f64(place as f64 / 1_000.0);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let ended = async || {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = stop.replaced.cancelled() => {}
                () = stop.gone.cancelled() => {}
            }
        };
        loop {
            tokio::select! {
                () = ended() => break,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = ended() => break,
                () = self.turn() => {}
            }
        }
        if stop.gone.is_cancelled() && self.was_scraped {
            self.end().await;
        }
    }

    async fn turn(&mut self) {
        let (begun, time_ms) = (Instant::now(), self.hub.now_ms());
        let page = self.page(time_ms).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.tell(&page);
        let Page { n_scraped, n_kept, series } = page;
        let up = f64::from(u8::from(series.is_ok()));
        let n_new = series.as_ref().map_or(0, |series| self.note_new(series));
        let series = series.unwrap_or_default();
        let gone: Vec<Labels> =
            self.known.iter().filter(|labels| !series.contains_key(*labels)).cloned().collect();
        let undated = series.iter().filter(|(_, scraped)| !scraped.is_dated);
        self.known = undated.map(|(labels, _)| labels.clone()).collect();
        let values = [up, seconds, n_scraped as f64, n_kept as f64, n_new as f64];
        self.was_scraped = true;
        self.store(time_ms, series, gone, values).await;
    }

    fn tell(&mut self, page: &Page) {
        let target_url = &self.aim.url;
        match (&page.series, self.is_failing) {
            (Err(error), false) => {
                let error = format!("{error:#}");
                tracing::warn!(target_url, error, "a target cannot be scraped");
            }
            (Ok(_), true) => tracing::info!(target_url, "a target is scraped again"),
            _ => {}
        }
        self.is_failing = page.series.is_err();
    }

    /// How many series are there that the last good page had not.
    fn note_new(&mut self, series: &Series) -> usize {
        let now: HashSet<u64> = series.keys().map(hash).collect();
        let n_new = now.difference(&self.seen).count();
        self.seen = now;
        n_new
    }

    /// The target is no more: so are its series.
    async fn end(&mut self) {
        let (time_ms, known) = (self.hub.now_ms(), std::mem::take(&mut self.known));
        self.store(time_ms, Series::new(), known, [ABSENT; ABOUT.len()]).await;
    }

    fn named(&self, name: &str) -> Labels {
        let mut labels = self.aim.labels.clone();
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        labels
    }

    async fn page(&self, time_ms: TimeMs) -> Page {
        let text = match self.text().await {
            Ok(text) => text,
            Err(error) => return Page::failed(error),
        };
        let (job, labels) = (Arc::clone(&self.job), self.aim.labels.clone());
        let reading = tokio::task::spawn_blocking(move || match parse(&text) {
            Ok(families) => Page::new(families, &labels, &job, time_ms),
            Err(error) => {
                Page::failed(anyhow::Error::new(error).context("its page is not in the text format"))
            }
        });
        reading.await.unwrap_or_else(|error| Page::failed(error.into()))
    }

    async fn text(&self) -> anyhow::Result<Vec<u8>> {
        let job = Arc::clone(&self.job);
        let credential = tokio::task::spawn_blocking(move || credential(&job)).await??;
        let headers = HeaderMap::from_iter([(ACCEPT, FORMAT), (TIMEOUT, seconds(self.aim.timeout))]);
        let bounds = (self.aim.timeout, TEXT_BYTES_MAX);
        self.client.get(&self.aim.url, headers, credential.as_ref(), bounds).await
    }

    async fn store(&self, time_ms: TimeMs, series: Series, gone: Vec<Labels>, about: [f64; ABOUT.len()]) {
        let target_url = &self.aim.url;
        let gauge = Metadata { kind: Kind::Gauge, help: "", unit: "" };
        let at = move |value| Sample { time_ms, value, start_ms: None };
        let about: Vec<_> = ABOUT.iter().zip(about).map(|(name, value)| (self.named(name), value)).collect();
        let agent_id = crate::hub::pushed::scraped(&self.job.job_name);
        let stored = Arc::clone(&self.hub).store_own(agent_id, move |_, visit| {
            for (labels, scraped) in &series {
                let metadata = Metadata { kind: scraped.kind, help: &scraped.help, unit: "" };
                say(labels, Some(metadata), scraped.sample, visit);
            }
            gone.iter().for_each(|labels| say(labels, None, at(ABSENT), visit));
            about.iter().for_each(|(labels, value)| say(labels, Some(gauge), at(*value), visit));
            Ok(())
        });
        match stored.await {
            Ok(refused) if refused.is_any() => {
                tracing::warn!(target_url, reason = %refused, "not all of a target is stored");
            }
            Ok(_) => {}
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(target_url, error, "a scrape is not stored");
            }
        }
    }
}

fn say(labels: &Labels, metadata: Option<Metadata<'_>>, sample: Sample, visit: &mut dyn FnMut(Pushed<'_>)) {
    let labels: Vec<Label<'_>> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    visit(Pushed::Series(PushedSeries { labels: &labels, metadata, samples: &[sample] }));
}

fn hash(of: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(of)
}

fn seconds(timeout: Duration) -> HeaderValue {
    HeaderValue::try_from(timeout.as_secs_f64().to_string()).unwrap_or(HeaderValue::from_static("10"))
}

/// Read anew for each scrape, for files may change.
fn credential(job: &ScrapeJob) -> anyhow::Result<Option<Credential>> {
    let secret = |path: &Path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.trim().to_owned())
    };
    if let Some(Authorization { kind, credentials_file, .. }) = &job.authorization {
        return Ok(Some(Credential::Other(kind.clone(), secret(credentials_file)?)));
    }
    if let Some(file) = &job.bearer_token_file {
        return Ok(Some(Credential::Bearer(secret(file)?)));
    }
    let Some(basic) = &job.basic_auth else { return Ok(None) };
    Ok(Some(Credential::Basic(basic.username.clone(), secret(&basic.password_file)?)))
}
