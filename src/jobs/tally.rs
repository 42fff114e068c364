//! What the runs of each job came to and cost, as series; and whether a run is unlike those before.

use std::collections::{BTreeMap, VecDeque};

use fieldpost_model::job::{Run, RunState};
use parking_lot::Mutex;

/// Jobs that are counted one by one, at most; runs of others are counted together.
const N_JOBS_MAX: usize = 1_000;
/// The name under which those are counted.
const OTHERS: &str = "(others)";
/// Runs that one is compared with.
const N_COMPARED: usize = 50;
/// Fewer say nothing about what is usual.
const N_COMPARED_MIN: usize = 5;
/// So many times the usual memory is far more.
const MEMORY_FACTOR: u64 = 3;
/// A run that took less than such a part of the usual time is far too short.
const SHORT_PART: u64 = 10;
/// Spans below this tell nothing, milliseconds.
const SPAN_MIN_MS: u64 = 1_000;

/// What the runs of one job came to.
#[derive(Debug, Clone, Default)]
pub struct JobTally {
    /// How many, by the state in which they ended.
    pub n_runs: BTreeMap<&'static str, u64>,
    /// How long their commands took together.
    pub seconds: f64,
    /// Processor time.
    pub cpu_seconds: f64,
    /// Read and written.
    pub io_read_bytes: u64,
    /// Read and written.
    pub io_write_bytes: u64,
    /// How long they waited for their turn.
    pub waited_seconds: f64,
    /// The most memory of the newest one.
    pub memory_peak_bytes: u64,
    /// How long the newest one took.
    pub last_seconds: f64,
    /// When the newest one that succeeded ended, seconds since 1970.
    pub last_success: Option<f64>,
    /// When the newest one ended, seconds since 1970.
    pub last_end: f64,
    recent: VecDeque<(u64, u64)>,
}

/// By domain and name.
pub type Key = (String, String);

/// The tallies of all jobs that have a name.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<BTreeMap<Key, JobTally>>);

impl Tallies {
    /// Takes up what an agent before this one has left: when jobs last succeeded, and what is usual.
    pub fn remember(&self, newest_first: &[Run]) {
        for run in newest_first.iter().rev().filter(|run| run.state.is_final() && !run.job.name.is_empty()) {
            let mut all = self.0.lock();
            let tally = entry(&mut all, run);
            tally.note_success(run);
            tally.compare_with(run);
        }
    }

    /// Says what is unusual about a run that is over, and counts it.
    pub fn count(&self, run: &mut Run) {
        if run.job.name.is_empty() {
            return;
        }
        let mut all = self.0.lock();
        let tally = entry(&mut all, run);
        let marks = tally.marks(run);
        run.marks.extend(marks);
        *tally.n_runs.entry(run.state.as_str()).or_default() += 1;
        let seconds = run.took_ms.unwrap_or(0) as f64 / 1e3;
        tally.seconds += seconds;
        tally.last_seconds = seconds;
        tally.cpu_seconds += run.usage.cpu_seconds();
        tally.io_read_bytes += run.usage.io_read_bytes;
        tally.io_write_bytes += run.usage.io_write_bytes;
        tally.waited_seconds += run.waited_ms().unwrap_or(0) as f64 / 1e3;
        tally.memory_peak_bytes = run.usage.memory_peak_bytes;
        tally.last_end = run.ended_ms.unwrap_or(0) as f64 / 1e3;
        tally.note_success(run);
        tally.compare_with(run);
    }

    /// All of them.
    pub fn all(&self) -> Vec<(Key, JobTally)> {
        self.0.lock().iter().map(|(key, tally)| (key.clone(), tally.clone())).collect()
    }
}

fn entry<'a>(all: &'a mut BTreeMap<Key, JobTally>, run: &Run) -> &'a mut JobTally {
    let mut key = (run.job.domain.clone(), run.job.name.clone());
    if all.len() >= N_JOBS_MAX && !all.contains_key(&key) {
        key = (String::new(), OTHERS.to_owned());
    }
    all.entry(key).or_default()
}

impl JobTally {
    fn note_success(&mut self, run: &Run) {
        if run.state == RunState::Succeeded {
            self.last_success = run.ended_ms.map(|ms| ms as f64 / 1e3);
        }
    }

    fn compare_with(&mut self, run: &Run) {
        if let Some(took_ms) = run.took_ms {
            self.recent.push_back((took_ms, run.usage.memory_peak_bytes));
            if self.recent.len() > N_COMPARED {
                self.recent.pop_front();
            }
        }
    }

    fn marks(&self, run: &Run) -> Vec<String> {
        let Some(took_ms) = run.took_ms.filter(|_| self.recent.len() >= N_COMPARED_MIN) else {
            return Vec::new();
        };
        let sorted = |value: fn(&(u64, u64)) -> u64| {
            let mut values: Vec<u64> = self.recent.iter().map(value).collect();
            values.sort_unstable();
            values
        };
        let (spans, memories) = (sorted(|recent| recent.0), sorted(|recent| recent.1));
        let usual = |values: &[u64]| values[values.len() / 2];
        // Of fifty runs the longest but none is the ninety-ninth percent.
        let longest = spans.last().copied().unwrap_or(0);
        let mut marks = Vec::new();
        if run.usage.memory_peak_bytes > usual(&memories).saturating_mul(MEMORY_FACTOR) {
            marks.push(format!("more than {MEMORY_FACTOR} times its usual memory"));
        }
        if took_ms > SPAN_MIN_MS && took_ms > longest {
            marks.push("took longer than ever before".to_owned());
        }
        if usual(&spans) > SPAN_MIN_MS && took_ms < usual(&spans) / SHORT_PART {
            marks.push("far shorter than usual".to_owned());
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::job::{Cause, Job};

    use super::*;

    fn run(name: &str, took_ms: u64, memory: u64, state: RunState) -> Run {
        let job = Job { name: name.into(), ..Job::default() };
        let mut run = Run::new("a".into(), job, Cause::Asked, String::new(), 0);
        run.took_ms = Some(took_ms);
        run.usage.memory_peak_bytes = memory;
        run.change(state, 9_000, "");
        run
    }

    #[test]
    fn runs_are_counted_and_odd_ones_marked() {
        let tallies = Tallies::default();
        let marks = |took_ms, memory, state| {
            let mut run = run("j", took_ms, memory, state);
            tallies.count(&mut run);
            run.marks.len()
        };
        for _ in 0..N_COMPARED_MIN {
            assert_eq!(marks(20_000, 100, RunState::Succeeded), 0);
        }
        assert_eq!(marks(20_000, 301, RunState::Failed), 1);
        assert_eq!(marks(21_000, 100, RunState::Failed), 1);
        assert_eq!(marks(1_500, 100, RunState::Failed), 1);
        assert_eq!(marks(20_000, 100, RunState::Failed), 0);
        let (key, tally) = tallies.all().remove(0);
        assert_eq!((key.1.as_str(), tally.n_runs["succeeded"], tally.n_runs["failed"]), ("j", 5, 4));
        assert_eq!(tally.last_success, Some(9.0));
        tallies.count(&mut run("", 1, 1, RunState::Failed));
        assert_eq!(tallies.all().len(), 1, "runs without a name have no series");
    }
}
