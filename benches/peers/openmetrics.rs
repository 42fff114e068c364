//! Prometheus with the same samples: blocks made by promtool from OpenMetrics text.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use fieldpost_bed::{Scratch, peer};
use fieldpost_model::TimeMs;

use crate::disk::bytes_of;
use crate::recording::{HOUR_MS, Hour};

/// Bytes of the blocks that hold one hour.
pub fn bytes_of_hour(hour: &Hour, begin_ms: TimeMs) -> anyhow::Result<u64> {
    let scratch = Scratch::new()?;
    make_blocks(hour, scratch.path(), begin_ms, 1, |_| true)?;
    Ok(bytes_of(&scratch.path().join("blocks"), &|_| true))
}

/// Makes blocks of some series of the hour, so many times one after the other, in `blocks/`.
pub fn make_blocks(
    hour: &Hour,
    folder: &Path,
    begin_ms: TimeMs,
    n_hours: i64,
    keep: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let path = folder.join("samples.txt");
    let mut text = BufWriter::new(std::fs::File::create(&path)?);
    for (series, samples) in hour.series.iter().filter(|(series, _)| keep(&series.text)) {
        for n in 0..n_hours {
            for (t, value) in samples {
                let time_ms = begin_ms + n * HOUR_MS + t;
                writeln!(text, "{} {value} {}.{:03}", series.text, time_ms / 1_000, time_ms % 1_000)?;
            }
        }
    }
    text.write_all(b"# EOF\n")?;
    text.flush()?;
    let mut command = Command::new(peer("prometheus", "usr/bin/promtool")?);
    command.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]);
    let output = command.arg(&path).arg(folder.join("blocks")).output().context("cannot start promtool")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool: {}", said.lines().last().unwrap_or_default());
    std::fs::remove_file(&path)?;
    Ok(())
}
