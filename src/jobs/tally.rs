//! What the runs of each job came to and cost, as series; and whether a run is unlike those before.

use std::collections::{BTreeMap, VecDeque};

use fieldpost_model::job::{Run, RunStat, RunState};
use parking_lot::Mutex;

/// Jobs that are counted one by one, at most; runs of others are counted together.
const N_JOBS_MAX: usize = 1_000;
/// The name under which those are counted.
const OTHERS: &str = "(others)";
/// Keys of one job, at most.
const N_KEYS_MAX: usize = 200;
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
    /// Received and sent over networks of their own, if any of them had one.
    pub net_bytes: Option<(u64, u64)>,
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
    /// What the runs told of themselves, by key: values of the newest one, counts of all.
    pub stats: BTreeMap<String, RunStat>,
    recent: VecDeque<(u64, u64)>,
}

/// By domain and name.
pub type Key = (String, String);

/// What a run has told of itself, and of which job it is.
type Told = (Key, BTreeMap<String, RunStat>);

/// The tallies of all jobs that have a name.
#[derive(Debug, Default)]
pub struct Tallies {
    over: Mutex<BTreeMap<Key, JobTally>>,
    /// What runs that go on have told of themselves so far, by id.
    live: Mutex<BTreeMap<String, Told>>,
}

impl Tallies {
    /// Takes up what an agent before this one has left: when jobs last succeeded, and what is usual.
    pub fn remember(&self, newest_first: &[Run]) {
        for run in newest_first.iter().rev().filter(|run| run.state.is_final() && !run.job.name.is_empty()) {
            let mut all = self.over.lock();
            let tally = entry(&mut all, run);
            tally.note_success(run);
            tally.compare_with(run);
        }
    }

    /// Says what is unusual about a run that is over, and counts it.
    pub fn count(&self, run: &mut Run) {
        self.live.lock().remove(&run.id);
        if run.job.name.is_empty() {
            return;
        }
        let mut all = self.over.lock();
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
        if let Some((received, sent)) = run.usage.net_received_bytes.zip(run.usage.net_sent_bytes) {
            let (all_received, all_sent) = tally.net_bytes.unwrap_or_default();
            tally.net_bytes = Some((all_received + received, all_sent + sent));
        }
        tally.waited_seconds += run.waited_ms().unwrap_or(0) as f64 / 1e3;
        tally.memory_peak_bytes = run.usage.memory_peak_bytes;
        tally.last_end = run.ended_ms.unwrap_or(0) as f64 / 1e3;
        tally.add_stats(&run.stats);
        tally.note_success(run);
        tally.compare_with(run);
    }

    /// What a run that goes on has told of itself so far.
    pub fn note_live(&self, run: &Run, stats: &BTreeMap<String, RunStat>) {
        if !run.job.name.is_empty() {
            let key = (run.job.domain.clone(), run.job.name.clone());
            self.live.lock().insert(run.id.clone(), (key, stats.clone()));
        }
    }

    /// All of them, with what runs that go on have told so far.
    pub fn all(&self) -> Vec<(Key, JobTally)> {
        let mut all = self.over.lock().clone();
        for (key, stats) in self.live.lock().values() {
            if all.len() < N_JOBS_MAX || all.contains_key(key) {
                all.entry(key.clone()).or_default().add_stats(stats);
            }
        }
        all.into_iter().collect()
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
    fn add_stats(&mut self, stats: &BTreeMap<String, RunStat>) {
        for (key, stat) in stats {
            if self.stats.len() >= N_KEYS_MAX && !self.stats.contains_key(key) {
                continue;
            }
            let before =
                self.stats.get(key).filter(|before| before.kind == stat.kind).copied().unwrap_or_default();
            let together = RunStat { sum: before.sum + stat.sum, count: before.count + stat.count, ..*stat };
            self.stats.insert(key.clone(), together);
        }
    }

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
        let mut live = run("k", 1, 1, RunState::Succeeded);
        let told = RunStat {
            sum: 3.0,
            last: 3.0,
            count: 1,
            kind: fieldpost_model::job::StatKind::Count,
            ..RunStat::default()
        };
        tallies.note_live(&live, &[("rows".to_owned(), told)].into());
        let rows = || tallies.all().into_iter().find(|(key, _)| key.1 == "k").unwrap().1.stats["rows"].sum;
        assert_eq!(rows(), 3.0);
        live.stats = [("rows".to_owned(), RunStat { sum: 5.0, ..told })].into();
        tallies.count(&mut live);
        assert_eq!(rows(), 5.0, "counted once, not beside what it had told before");
        tallies.count(&mut run("", 1, 1, RunState::Failed));
        assert_eq!(tallies.all().len(), 2, "runs without a name have no series");
    }
}
