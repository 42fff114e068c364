//! How long a store of 1 GB takes to open, after a clean stop and after a crash.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fieldpost_bed::Scratch;
use fieldpost_model::{ByteSize, Period};
use fieldpost_store::{Config, Retention, Store, StoreOptions};

use crate::density::{Replay, day_ms};
use crate::disk::bytes_of;
use crate::recording::{HOUR_MS, Hour};
use crate::table::Row;

/// What the store is grown to.
const STORE_BYTES: u64 = 1 << 30;
/// Windows of ten seconds.
const WINDOW_MS: i64 = 10_000;

/// Opens it twice.
pub fn rows(hour: &Hour) -> anyhow::Result<Vec<Row>> {
    let windows = hour.windows(WINDOW_MS);
    let (live, crashed) = (Scratch::new()?, Scratch::new()?);
    let replay = Replay::open(live.path(), WINDOW_MS)?;
    for n in 0..24 {
        replay.append(&windows, day_ms() + n * HOUR_MS)?;
    }
    // A day and all but the end of the next day's first hour, then the power fails.
    replay.append(&windows[..windows.len() - 1], day_ms() + 24 * HOUR_MS)?;
    replay.tend()?;
    copy(live.path(), crashed.path())?;
    replay.close()?;
    let bytes = grow(crashed.path())?;
    let unclean = open(crashed.path())?;
    let clean = open(crashed.path())?;
    let gib = bytes as f64 / f64::from(1 << 30);
    let what = |how: &str| format!("open a store of {gib:.2} GiB {how}, an hour of windows not merged yet");
    let told = |took: Duration| (took.as_secs_f64(), format!("{:.3} s", took.as_secs_f64()));
    Ok(vec![
        Row::against(&what("after a crash"), told(unclean), "–", 2.0, 2.0, "s"),
        Row::against(&what("after a clean stop"), told(clean), "–", 2.0, 2.0, "s"),
    ])
}

/// The same day again under other dates until the store has its size.
fn grow(folder: &Path) -> anyhow::Result<u64> {
    let day = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let day =
        day.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("day-")));
    let day = day.last().context("no merged day in the store")?;
    let mut bytes = bytes_of(folder, &|name| name != "ballast");
    let size = day.metadata()?.len();
    for n in 0_u32.. {
        if bytes >= STORE_BYTES {
            break;
        }
        let name = format!("day-2025{:02}{:02}.db", 1 + n / 28 % 12, 1 + n % 28);
        std::fs::copy(&day, folder.join(name))?;
        bytes += size;
    }
    Ok(bytes)
}

/// A copy of the folder as it is at this moment, files that are being written included.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)?.flatten() {
        let is_shared_memory = entry.file_name().to_string_lossy().ends_with("-shm");
        if entry.file_type()?.is_file() && !is_shared_memory {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Old days must stay: they are what makes it large.
fn open(folder: &Path) -> anyhow::Result<Duration> {
    let retention = Retention { raw: Period::from_secs(10 * 366 * 86_400), ..Retention::default() };
    let config =
        Config { path: folder.to_owned(), retention, quota: ByteSize(4 * STORE_BYTES), ..Config::default() };
    let start = Instant::now();
    let (store, _) = Store::open(StoreOptions::new(config))?;
    let took = start.elapsed();
    store.close()?;
    Ok(took)
}
