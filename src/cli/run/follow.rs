//! Following the output of a run: what the command says goes where it said it, also when the agent
//! goes away in between and comes back.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Local};
use fieldpost_model::job::Run;

use super::super::exit;
use super::super::job_door::JobDoor;
use super::ending;
use crate::api::RunView;
use crate::jobs::LogRow;

/// An agent that went away is waited for so long: one that is restarted or upgraded is back by then.
const ABSENCE_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether it is back.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Asked for at a time: then the agent answers how the run stands.
const WAIT: &str = "30s";
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How rows are shown.
#[derive(Debug, Clone, Default)]
pub struct Show {
    /// More of the question: `&levels=1,2`.
    pub query: String,
    /// When each was said, before it.
    pub timestamps: bool,
    /// As JSON.
    pub json: bool,
}

/// Shows rows behind `after`, and returns when there will be no more.
pub async fn rows(door: &JobDoor, id: &str, after: u64, show: &Show) -> anyhow::Result<()> {
    let mut after = after;
    let mut absent_since: Option<Instant> = None;
    loop {
        let path = format!("/runs/{id}/logs?follow=true&after={after}{}", show.query);
        let began = after;
        match stream(door, &path, |row| {
            after = row.seq;
            put(row, show)
        })
        .await
        {
            Ok(()) if is_over(door, id).await.unwrap_or(false) => return Ok(()),
            Ok(()) => {}
            Err(error) if is_closed_output(&error) => return Err(error),
            Err(error) => tracing::debug!("the agent went away: {error:#}"),
        }
        if after > began {
            absent_since = None;
        }
        let since = *absent_since.get_or_insert_with(Instant::now);
        if since.elapsed() > ABSENCE_MAX {
            bail!("the agent went away; the run goes on: fieldpost run logs -f {id}");
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

async fn is_over(door: &JobDoor, id: &str) -> anyhow::Result<bool> {
    let view: RunView = door.json("GET", &format!("/runs/{id}"), None, Duration::ZERO).await?;
    Ok(view.run.state.is_final())
}

/// Asks once, and gives each row as it comes.
pub async fn stream(
    door: &JobDoor,
    path: &str,
    mut take: impl FnMut(&LogRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    door.follow(path, |bytes| {
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if line.len() > 1 {
                take(&serde_json::from_slice(&line).context("the agent's answer is of another version")?)?;
            }
        }
        Ok(())
    })
    .await
}

/// Shows one row: what was said on the standard error goes there, all else to the output.
pub fn put(row: &LogRow, show: &Show) -> anyhow::Result<()> {
    if show.json {
        return Ok(super::super::terminal::out(&serde_json::to_string(row)?)?);
    }
    if row.missing_bytes > 0 {
        super::super::terminal::err(&format!("... {} bytes are not kept ...", row.missing_bytes));
    }
    let mut bytes = row.bytes();
    if show.timestamps {
        bytes = stamped(row, &bytes);
    }
    let done = if row.level == 2 {
        std::io::stderr().lock().write_all(&bytes)
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&bytes).and_then(|()| stdout.flush())
    };
    Ok(done?)
}

fn stamped(row: &LogRow, bytes: &[u8]) -> Vec<u8> {
    let time = DateTime::from_timestamp_millis(row.time_ms).unwrap_or_default().with_timezone(&Local);
    let stamp = format!("{} {:>2} ", time.format("%Y-%m-%d %H:%M:%S%.3f"), row.level);
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| [stamp.as_bytes(), line].concat()).collect()
}

/// Waits until the run is over, also across an absence of the agent.
pub async fn end(door: &JobDoor, id: &str) -> anyhow::Result<Run> {
    let mut absent_since: Option<Instant> = None;
    loop {
        match standing(door, id).await {
            Ok(run) if run.state.is_final() => return Ok(run),
            Ok(_) => absent_since = None,
            Err(error) => {
                let since = *absent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > ABSENCE_MAX {
                    return Err(exit::failure(ending::UNREACHABLE, format!("error: {error:#}")));
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        }
    }
}

async fn standing(door: &JobDoor, id: &str) -> anyhow::Result<Run> {
    let path = format!("/runs/{id}/result?wait={WAIT}");
    Ok(door.json::<RunView>("GET", &path, None, WAIT_MAX).await?.run)
}
