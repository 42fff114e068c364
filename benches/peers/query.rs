//! One series over a whole day: ours out of the store's files, the peers' by their HTTP.

use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use fieldpost_bed::{Connection, Scratch};
use fieldpost_model::Selector;
use fieldpost_store::Reader;

use crate::cpu::median;
use crate::density::day_ms;
use crate::recording::{HOUR_MS, Hour};
use crate::table::Row;
use crate::victoria::Victoria;
use crate::{openmetrics, rivals};

/// How many queries each answers.
const N_QUERIES: usize = 50;
/// Series whose names begin so are asked for in turn, one of each.
const ASKED: [&str; 5] = [
    "node_load1",
    "node_cpu_seconds_total",
    "node_memory_MemFree_bytes",
    "node_context_switches_total",
    "node_vmstat_pgfault",
];

/// The median query of each, with a step of 60 s where there are steps.
pub fn rows(hour: &Hour, store: &Path, victoria: &Victoria) -> anyhow::Result<Vec<Row>> {
    let find = |name: &&str| {
        hour.series.iter().map(|(series, _)| &*series.text).find(|text| text.starts_with(*name))
    };
    let asked: Vec<&str> = ASKED.iter().filter_map(find).collect();
    ensure!(!asked.is_empty(), "the recording has none of {ASKED:?}");
    let (from_ms, to_ms) = (day_ms(), day_ms() + 24 * HOUR_MS);
    let reader = Reader::open(store)?;
    let mut n_samples = 0;
    let ours = p50(&asked, |series| {
        let mut all = Vec::new();
        reader
            .scan(&Selector::parse(series)?, from_ms, to_ms, |_, samples| all.extend_from_slice(samples))?;
        n_samples = all.len();
        Ok(())
    })?;
    let scratch = Scratch::new()?;
    openmetrics::make_blocks(hour, scratch.path(), from_ms, 24, |text| asked.contains(&text))?;
    let prometheus = rivals::prometheus(scratch)?;
    let mut ask = Http { connection: prometheus.connect()? };
    let prometheus_ms = p50(&asked, |series| ask.range(series))?;
    let mut ask = Http { connection: victoria.connect()? };
    let victoria_ms = p50(&asked, |series| ask.range(series))?;
    let raw_ms = p50(&asked, |series| ask.raw(series))?;
    let peers = format!(
        "1 440 points over HTTP: VictoriaMetrics {victoria_ms:.2} ms, Prometheus {prometheus_ms:.2} ms \
         (which holds these series only); all samples: VictoriaMetrics {raw_ms:.1} ms"
    );
    let what = format!("query of one series over a day, all {n_samples} samples, p50 of {N_QUERIES}");
    Ok(vec![Row::against(
        &what,
        (ours, format!("{ours:.2} ms")),
        &peers,
        (victoria_ms * 100.0).round() / 100.0,
        (victoria_ms * 50.0).round() / 100.0,
        "ms",
    )])
}

/// The median of queries that ask for each series in turn, milliseconds.
fn p50(asked: &[&str], mut ask: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for series in asked.iter().cycle().take(N_QUERIES + asked.len()) {
        let start = Instant::now();
        ask(series)?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // The first round warmed the caches of all.
    Ok(median(took.split_off(asked.len())))
}

struct Http {
    connection: Connection,
}

impl Http {
    fn range(&mut self, series: &str) -> anyhow::Result<()> {
        let (from, to) = (day_ms() / 1_000, day_ms() / 1_000 + 24 * 3_600 - 60);
        let query = escaped(series);
        self.ask(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step=60&nocache=1"))
    }

    fn raw(&mut self, series: &str) -> anyhow::Result<()> {
        let (from, to) = (day_ms() / 1_000, day_ms() / 1_000 + 24 * 3_600);
        self.ask(&format!("/api/v1/export?match[]={}&start={from}&end={to}", escaped(series)))
    }

    fn ask(&mut self, path: &str) -> anyhow::Result<()> {
        let answer = self.connection.get(path, &[])?;
        ensure!(answer.ok()?.len() > 1_000, "no samples: {}", answer.text()?);
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
