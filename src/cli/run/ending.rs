//! How the end of a run is told: one line, and an exit code.

use std::time::Duration;

use fieldpost_model::job::{Enforcement, Run, RunState};
use fieldpost_model::{format_bytes, format_span};

use super::super::terminal;

/// There is no result to take.
pub const NO_RESULT: u8 = 120;
/// The agent cannot be reached.
pub const UNREACHABLE: u8 = 121;
/// Of several runs some ended otherwise than others.
pub const PARTLY: u8 = 122;
/// Nobody knows how it ended, or it never began.
pub const NO_OUTCOME: u8 = 123;
/// Over its time.
pub const TIMED_OUT: u8 = 124;
/// Not let run.
pub const REFUSED: u8 = 125;
/// Left alone.
pub const LEFT: u8 = 130;
/// Digits of an id that are shown: its last ones, by chance, tell runs apart best.
const SHORT_ID: usize = 8;

/// So much of an id as people need.
pub fn short(id: &str) -> &str {
    let is_made = id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4;
    if is_made { &id[id.len() - SHORT_ID..] } else { id }
}

/// The exit code of whoever has waited for the run.
pub fn code(run: &Run) -> u8 {
    match (run.state, &run.outcome) {
        (RunState::TimedOut, _) => TIMED_OUT,
        (RunState::Refused, _) => REFUSED,
        (RunState::Cancelled | RunState::Lost | RunState::InterruptedByReboot, _) | (_, None) => NO_OUTCOME,
        (RunState::Succeeded, _) => 0,
        // One that was ended and still said that all is well did not do what it was to do.
        (_, Some(outcome)) => u8::try_from(outcome.code()).ok().filter(|code| *code != 0).unwrap_or(1),
    }
}

/// A span for people, in so few letters as they need.
pub fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ => format_span(Duration::from_millis(ms)),
    }
}

/// The line that tells the end.
pub fn line(run: &Run) -> String {
    let mut line = format!("run {} {}", short(&run.id), run.state.as_str().replace('_', " "));
    if !run.reason().is_empty() {
        line += &format!(": {}", terminal::printable(run.reason()));
    }
    if let Some(ms) = run.took_ms {
        line += &format!(" after {}", took(ms));
    }
    if run.usage.source.is_empty() {
        return line;
    }
    let peak = format_bytes(run.usage.memory_peak_bytes as f64);
    line += &format!("; cpu {:.2} s, peak {peak}", run.usage.cpu_seconds());
    line + &limits(&run.limits)
}

/// What enforced the limits, and which ones nothing did.
fn limits(limits: &[Enforcement]) -> String {
    let mut by: Vec<&str> = limits.iter().filter_map(|limit| limit.by.as_deref()).collect();
    by.sort_unstable();
    by.dedup();
    let not: Vec<String> = limits
        .iter()
        .filter(|limit| limit.by.is_none())
        .map(|limit| format!("{} ({})", limit.limit, limit.reason))
        .collect();
    let mut text = String::new();
    if !by.is_empty() {
        text += &format!("; enforced by {}", by.join(", "));
    }
    if !not.is_empty() {
        text += &format!("; not enforced: {}", not.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use fieldpost_model::job::{Cause, Job, Outcome, Usage};

    use super::*;

    fn ended(state: RunState, outcome: Option<Outcome>, reason: &str) -> Run {
        let id = "0193a5b2-0000-7000-8000-00008f3ac201";
        let mut run = Run::new(id.into(), Job::default(), Cause::Asked, String::new(), 0);
        run.change(state, 12, reason);
        run.outcome = outcome;
        run.took_ms = Some(12);
        run
    }

    #[test]
    fn end_is_one_line_and_a_code() {
        let exited = |code| Some(Outcome::Exited { code });
        let mut run = ended(RunState::Failed, exited(3), "exit 3");
        run.usage = Usage { memory_peak_bytes: 1_677_722, source: "wait4".into(), ..Usage::default() };
        let limit = |limit: &str, by: Option<&str>, reason: &str| Enforcement {
            limit: limit.into(),
            by: by.map(str::to_owned),
            reason: reason.into(),
        };
        run.limits = vec![limit("memory", Some("cgroup v1"), ""), limit("cpu", None, "no cgroup")];
        let text = "run 8f3ac201 failed: exit 3 after 12 ms; cpu 0.00 s, peak 1.6 MiB; enforced by cgroup v1; \
                    not enforced: cpu (no cgroup)";
        assert_eq!(line(&run), text);
        assert_eq!(code(&run), 3);
        assert_eq!(code(&ended(RunState::Killed, Some(Outcome::Signalled { signal: 9 }), "")), 137);
        assert_eq!(code(&ended(RunState::Killed, exited(0), "")), 1);
        assert_eq!(code(&ended(RunState::Succeeded, exited(3), "")), 0);
        assert_eq!(code(&ended(RunState::TimedOut, exited(0), "")), TIMED_OUT);
        assert_eq!(code(&ended(RunState::Lost, None, "")), NO_OUTCOME);
    }
}
