//! What the end of a run means: from what its shim left to the state that it ends in.

use fieldpost_model::TimeMs;
use fieldpost_model::format_bytes;
use fieldpost_model::job::{Outcome, Run, RunState};

use super::protocol::{Ended, Started, Why};

/// Names of the signals that end processes most often.
const SIGNALS: [(i32, &str); 15] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (25, "XFSZ"),
];

/// The number of a signal by its name, with or without SIG, or by its number.
pub fn signal_number(text: &str) -> Option<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let more = [("CONT", 18), ("STOP", 19), ("TSTP", 20), ("WINCH", 28)];
    let known = SIGNALS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    let known = known.or_else(|| more.iter().find(|(known, _)| *known == name).map(|(_, number)| *number));
    known.or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
}

fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The command began.
pub fn note_start(run: &mut Run, started: &Started) {
    run.started_ms = Some(started.time_ms);
    run.pid = Some(started.child.pid);
    run.limits.clone_from(&started.limits);
}

/// All of it is over: what it came to.
pub fn note_end(run: &mut Run, ended: &Ended) {
    // What was sampled knows more than the end does, and the end more than nobody.
    let sampled = std::mem::replace(&mut run.usage, ended.usage.clone());
    run.usage.processes_max = sampled.processes_max;
    run.usage.threads_max = sampled.threads_max;
    run.usage.files_max = sampled.files_max;
    run.usage.net_received_bytes = sampled.net_received_bytes;
    run.usage.net_sent_bytes = sampled.net_sent_bytes;
    run.usage.memory_peak_bytes = run.usage.memory_peak_bytes.max(sampled.memory_peak_bytes);
    run.output = ended.output;
    run.data.clone_from(&ended.data);
    run.stats.clone_from(&ended.stats);
    run.outcome = Some(ended.outcome.clone());
    run.took_ms = Some(ended.took_ms);
    if !ended.limits.is_empty() {
        run.limits.clone_from(&ended.limits);
    }
    if ended.left_behind {
        run.marks.push("left processes behind, which were ended".to_owned());
    }
    if let Some(stopping_ms) = ended.stopping_ms
        && run.state != RunState::Stopping
    {
        run.change(RunState::Stopping, stopping_ms, why_text(run, ended.why.as_ref()));
    }
    let (state, reason) = verdict(run, ended);
    run.change(state, ended.time_ms, reason);
}

fn verdict(run: &Run, ended: &Ended) -> (RunState, String) {
    let how = how(&ended.outcome);
    match &ended.why {
        Some(why @ (Why::Timeout | Why::Silence)) => (RunState::TimedOut, why_text(run, Some(why))),
        Some(Why::Refused { reason }) => (RunState::Refused, reason.clone()),
        Some(why @ Why::OutOfMemory) => (RunState::Killed, why_text(run, Some(why))),
        Some(why @ Why::Asked { .. }) => (RunState::Killed, format!("{}, {how}", why_text(run, Some(why)))),
        None => match &ended.outcome {
            Outcome::Exited { code } if run.job.success_codes.contains(code) => (RunState::Succeeded, how),
            _ => (RunState::Failed, how),
        },
    }
}

fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signalled { signal } => format!("signal {}", signal_name(*signal)),
        Outcome::NotStarted { error, .. } => error.clone(),
    }
}

fn why_text(run: &Run, why: Option<&Why>) -> String {
    match why {
        Some(Why::Timeout) => format!("over its time of {}", run.job.timeout),
        Some(Why::Silence) => format!("silent for {}", run.job.output_timeout),
        Some(Why::Asked { by }) => format!("asked by {by}"),
        Some(Why::OutOfMemory) => match run.job.limits.memory {
            Some(limit) => format!("over its memory limit of {} (oom)", format_bytes(limit.0 as f64)),
            None => "out of memory (oom)".to_owned(),
        },
        Some(Why::Refused { reason }) => reason.clone(),
        None => String::new(),
    }
}

/// Its shim is gone without a word.
pub fn note_lost(run: &mut Run, now_ms: TimeMs) {
    run.change(RunState::Lost, now_ms, "its shim ended without saying how the run ended");
}

#[cfg(test)]
mod tests {
    use fieldpost_model::job::{Cause, Job, OutputCounts, Usage};

    use super::*;

    fn ended(outcome: Outcome, why: Option<Why>) -> Ended {
        Ended {
            time_ms: 9,
            took_ms: 3,
            outcome,
            why,
            stopping_ms: None,
            limits: Vec::new(),
            usage: Usage::default(),
            output: OutputCounts::default(),
            data: None,
            stats: Default::default(),
            left_behind: false,
        }
    }

    #[test]
    fn ends_have_their_states_and_reasons() {
        let end = |outcome, why| {
            let job = Job { command: "x".into(), success_codes: vec![0, 3], ..Job::default() };
            let mut run = Run::new("a".into(), job, Cause::Asked, String::new(), 0);
            note_end(&mut run, &ended(outcome, why));
            (run.state, run.reason().to_owned())
        };
        let exited = |code| Outcome::Exited { code };
        assert_eq!(end(exited(3), None), (RunState::Succeeded, "exit 3".into()));
        assert_eq!(end(exited(4), None), (RunState::Failed, "exit 4".into()));
        assert_eq!(end(Outcome::Signalled { signal: 11 }, None), (RunState::Failed, "signal SEGV".into()));
        let asked = Why::Asked { by: "uid 0".into() };
        assert_eq!(end(exited(0), Some(asked)), (RunState::Killed, "asked by uid 0, exit 0".into()));
        assert_eq!(end(exited(0), Some(Why::Timeout)).0, RunState::TimedOut);
    }

    #[test]
    fn signals_are_read_by_name_and_number() {
        let numbers = ["TERM", "SIGTERM", "sigusr1", "9", "CONT", "0", "NONE"].map(signal_number);
        assert_eq!(numbers, [Some(15), Some(15), Some(10), Some(9), Some(18), None, None]);
    }
}
