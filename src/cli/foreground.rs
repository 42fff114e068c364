//! The agent in the foreground: what it says at the start, every ten seconds and at the end.
//! All of it goes to the standard error; the line every ten seconds only if a person is watching.

use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use fieldpost_model::{format_bytes, format_span};
use fieldpost_store::Opened;
use tokio_util::sync::CancellationToken;

use super::serve::{Started, Stopped};
use super::terminal;
use crate::agent::{Agent, Status};
use crate::telemetry::Cost;

/// How often a watched terminal gets a line.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Says that the agent runs, and goes on to say how, if somebody is watching.
pub fn tell_started(started: &Started, shutdown: &CancellationToken) {
    let agent = &started.agent;
    let status = agent.status();
    terminal::err(&format!(
        "agent  {}  pid {}  data {} ({})  config {}  ready in {:.1} s",
        status.name,
        status.pid,
        near(&status.store.path),
        found(&started.opened),
        near(&status.config),
        started.took.as_secs_f64(),
    ));
    terminal::err(&format!("  metrics  {}", status.metrics));
    terminal::err(&format!("  look     {} top", program()));
    terminal::err(&format!("  {}", collectors(&status)));
    if terminal::is_watched() {
        tokio::spawn(summaries(Arc::clone(agent), shutdown.clone()));
    }
}

/// Says how it ended.
pub fn tell_stopped(stopped: &Stopped) {
    terminal::err(&format!(
        "stopped  {} samples stored, {} lost, store closed clean",
        grouped(stopped.closed.n_samples_stored),
        grouped(stopped.closed.n_samples_lost)
    ));
}

/// A path as it is seen from the present folder, where it lies below it.
pub fn near(path: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match std::path::Path::new(path).strip_prefix(here) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.to_owned(),
    }
}

fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "fieldpost".into())
}

fn found(opened: &Opened) -> String {
    let Some((from_ms, to_ms)) = opened.data_span.filter(|_| !opened.new) else { return "new".into() };
    let span = format_span(Duration::from_millis((to_ms - from_ms).max(0) as u64));
    let stop = if opened.last_stop_clean {
        "last stop clean".to_owned()
    } else {
        let lost = Duration::from_millis(opened.lost_at_most_ms.max(0) as u64);
        format!("last stop unclean: at most {} lost", format_span(lost))
    };
    format!("{span} of data, {stop}")
}

fn collectors(status: &Status) -> String {
    let idle: Vec<&str> =
        status.collectors.iter().filter(|state| state.no_data).map(|state| state.name.as_str()).collect();
    let on = status.collectors.len() - idle.len();
    if idle.is_empty() {
        format!("{on} collectors on")
    } else {
        format!("{on} collectors on, {} with nothing to measure on this host: {}", idle.len(), idle.join(" "))
    }
}

/// What is remembered between two summaries.
struct Before {
    cost: Cost,
    n_stored: u64,
    at: std::time::Instant,
}

async fn summaries(agent: Arc<Agent>, shutdown: CancellationToken) {
    let look = |agent: &Agent| Before {
        cost: Cost::now().unwrap_or_default(),
        n_stored: agent.store_stats().n_samples_stored,
        at: std::time::Instant::now(),
    };
    let mut before = look(&agent);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SUMMARY_EVERY) => {}
        }
        let now = look(&agent);
        terminal::err(&summary(&agent, &before, &now));
        before = now;
    }
}

fn summary(agent: &Agent, before: &Before, now: &Before) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let status = agent.status();
    format!(
        "{}  {} series  {:.0} samples/s  cpu {:.2} %  rss {}  store {:.2} MiB  lost {}",
        Local::now().format("%H:%M:%S"),
        status.n_series,
        (now.n_stored - before.n_stored) as f64 / seconds,
        (now.cost.cpu_seconds - before.cost.cpu_seconds) / seconds * 100.0,
        format_bytes(now.cost.rss_bytes),
        status.store.bytes as f64 / f64::from(1 << 20),
        status.store.samples_lost,
    )
}

/// A number with thin groups of three digits: `12 262`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 12_262, 1_234_567].map(grouped), ["0", "999", "12 262", "1 234 567"]);
    }

    #[test]
    fn what_was_found_is_told() {
        let opened = Opened { data_span: Some((0, 20_000)), last_stop_clean: true, ..Opened::default() };
        assert_eq!(found(&opened), "20 s of data, last stop clean");
        let opened = Opened { last_stop_clean: false, lost_at_most_ms: 5_000, ..opened };
        assert_eq!(found(&opened), "20 s of data, last stop unclean: at most 5.0 s lost");
        assert_eq!(found(&Opened { new: true, ..opened }), "new");
    }
}
