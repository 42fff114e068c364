//! Bytes at rest and bytes written of a replayed day, beside VictoriaMetrics and Prometheus with
//! the very same samples; and the time of a query over that day.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use fieldpost_bed::Scratch;
use fieldpost_model::{Period, TimeMs};
use fieldpost_store::{Config, Store, StoreOptions};

use crate::disk::{bytes_of, written_bytes};
use crate::recording::{HOUR_MS, Hour, shifted};
use crate::table::Row;
use crate::{cpu, openmetrics, query, victoria};

/// Longer than any merge takes: they are made at the lowest priority, so a busy machine draws them out.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Yesterday's first instant: a whole day that lies in the past.
pub fn day_ms() -> TimeMs {
    const DAY_MS: i64 = 24 * HOUR_MS;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = TimeMs::try_from(since.as_millis()).unwrap_or_default();
    now_ms - now_ms.rem_euclid(DAY_MS) - DAY_MS
}

/// A store whose clock is set by hand.
pub struct Replay {
    store: Store,
    now_ms: Arc<AtomicI64>,
}

impl Replay {
    /// Opens a store in this folder.
    pub fn open(folder: &Path, window_ms: i64) -> anyhow::Result<Self> {
        let now_ms = Arc::new(AtomicI64::new(day_ms()));
        let shown = Arc::clone(&now_ms);
        let config = Config {
            path: folder.to_owned(),
            window: Period::from_millis(window_ms.unsigned_abs()),
            ..Config::default()
        };
        let wall = Arc::clone(&shown);
        let clock = Arc::new(move || wall.load(Ordering::Relaxed));
        // The same clock twice: they agree, so what is too old goes.
        let monotonic = Arc::new(move || Duration::from_millis(shown.load(Ordering::Relaxed).unsigned_abs()));
        let (store, _) = Store::open(StoreOptions { clock, monotonic, ..StoreOptions::new(config) })?;
        Ok(Self { store, now_ms })
    }

    /// Puts windows in as if they came now, each committed before the next.
    pub fn append(&self, windows: &[fieldpost_model::Window], by_ms: i64) -> anyhow::Result<()> {
        for window in windows {
            let window = shifted(window, by_ms);
            self.now_ms.store(window.to_ms, Ordering::Relaxed);
            self.store.append(window);
            ensure!(self.store.flush(PATIENCE), "the store does not take what is replayed");
        }
        Ok(())
    }

    /// Merges what is due.
    pub fn tend(&self) -> anyhow::Result<()> {
        ensure!(self.store.tend(PATIENCE), "the store does not end its merges");
        Ok(())
    }

    /// Closes the store.
    pub fn close(self) -> anyhow::Result<()> {
        self.store.close()?;
        Ok(())
    }
}

/// What a replayed day came to.
struct Day {
    scratch: Scratch,
    n_hour: f64,
    n_day: f64,
    hour_bytes: u64,
    written_bytes: u64,
    cpu: Duration,
}

impl Day {
    /// Replays the hour 24 times. The next day's first window lets the last hour and the day be merged.
    fn replay(hour: &Hour, window_ms: i64) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let windows = hour.windows(window_ms);
        let (spent, written) = (cpu::own(), written_bytes(std::process::id()));
        let replay = Replay::open(scratch.path(), window_ms)?;
        let mut hour_bytes = 0;
        for n in 0..24 {
            let begin_ms = day_ms() + n * HOUR_MS;
            replay.append(&windows[..1], begin_ms)?;
            replay.tend()?;
            if n == 1 {
                hour_bytes = bytes_of(scratch.path(), &|name| name.starts_with("hour-"));
            }
            replay.append(&windows[1..], begin_ms)?;
        }
        replay.append(&windows[..1], day_ms() + 24 * HOUR_MS)?;
        replay.tend()?;
        replay.close()?;
        Ok(Self {
            n_hour: hour.n_samples() as f64,
            n_day: 24.0 * hour.n_samples() as f64,
            hour_bytes,
            written_bytes: written_bytes(std::process::id()) - written,
            cpu: cpu::own() - spent,
            scratch,
        })
    }

    /// What of the day's file is rollups and names: three weeks on, its samples are let go, and
    /// just that is left.
    fn rollup_bytes(&self, windows: &[fieldpost_model::Window]) -> anyhow::Result<u64> {
        let replay = Replay::open(self.scratch.path(), 60_000)?;
        for n in 0..3 {
            replay.append(&windows[..1], day_ms() + 21 * 24 * HOUR_MS + n * HOUR_MS)?;
            replay.tend()?;
        }
        replay.close()?;
        let bytes = bytes_of(self.scratch.path(), &|name| name.starts_with("minutes-"));
        ensure!(bytes > 0, "the replayed day did not go by its age");
        Ok(bytes)
    }
}

/// All of it.
pub fn rows(hour: &Hour) -> anyhow::Result<Vec<Row>> {
    let short = Day::replay(hour, 10_000)?;
    let long = Day::replay(hour, 60_000)?;
    let mut victoria = victoria::Victoria::start()?;
    victoria.import(hour, day_ms())?;
    let victoria_bytes = victoria.settled_bytes()? as f64 / short.n_hour;
    // Only the queries see the other hours: their blocks span several, and so find the repetition.
    for n in 1..24 {
        victoria.import(hour, day_ms() + n * HOUR_MS)?;
    }
    victoria.settled_bytes()?;
    let prometheus_bytes = openmetrics::bytes_of_hour(hour, day_ms())? as f64 / short.n_hour;
    let peers = format!("VictoriaMetrics {victoria_bytes:.3} B, Prometheus {prometheus_bytes:.3} B");
    let each = short.hour_bytes as f64 / short.n_hour;
    let rollup_bytes = long.rollup_bytes(&hour.windows(60_000))?;
    // The hours are alike, and so are their rollups; names are counted with the samples but for a 24th.
    let raw = (short.hour_bytes as f64 - rollup_bytes as f64 / 24.0) / short.n_hour;
    let told = |bytes: f64| (bytes, format!("{bytes:.3} B"));
    let written = |day: &Day| day.written_bytes as f64 / day.n_day;
    let mut rows = vec![
        Row::against(
            "bytes per sample at rest, an hour merged, without rollups",
            told(raw),
            &peers,
            round(victoria_bytes),
            round(0.8 * victoria_bytes),
            "B",
        ),
        Row::plain("the same with rollups to minutes", told(each).1, "none have rollups"),
        Row::against(
            "bytes written to disk per sample, windows of 10 s, merges and rollups included",
            told(written(&short)),
            "netdata ~16 (its own figure)",
            10.0,
            7.0,
            "B",
        ),
        Row::against("the same, windows of 60 s", told(written(&long)), "as above", 4.0, 3.5, "B"),
        Row::plain(
            "CPU of the store per sample, commit, merges and rollups, windows of 10 s",
            format!("{:.2} µs", short.cpu.as_secs_f64() * 1e6 / short.n_day),
            "–",
        ),
    ];
    rows.extend(query::rows(hour, short.scratch.path(), &victoria)?);
    Ok(rows)
}

fn round(bytes: f64) -> f64 {
    (bytes * 1e3).round() / 1e3
}
