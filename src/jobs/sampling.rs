//! What live runs use, sampled once a second: processor time, memory, processes, threads, open
//! files, storage, network. Peaks go into the record of the run, the newest samples are kept in memory.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_runs::{LiveRun, LiveRuns};
use fieldpost_model::job::{OutputKind, Run, RunStat, RunState, StatKind};
use serde::{Deserialize, Serialize};

use super::gather::{self, Gathered, Interval};
use super::handle::Jobs;
use super::launch::attempt_folder;
use super::protocol::{COST_FILE, TOLD_FILE, TOTALS_FILE};
use super::traffic::Traffic;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// Samples of a run that are kept.
const N_SAMPLES_MAX: usize = 300;
/// Processes of a run that are looked at, at most.
const N_PROCESSES_MAX: usize = 1_000;
/// Clock ticks a second in /proc (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page in /proc/PID/statm.
const PAGE_BYTES: u64 = 4_096;

/// What a run used at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RunSample {
    /// When.
    pub time_ms: TimeMs,
    /// Processor time since its beginning, seconds.
    pub cpu_seconds: f64,
    /// Resident memory of its processes, bytes.
    pub memory_bytes: u64,
    /// Processes.
    pub processes: u32,
    /// Threads.
    pub threads: u32,
    /// Open files.
    pub files: u32,
    /// Read from storage by the processes that are there, bytes.
    pub io_read_bytes: u64,
    /// Written to storage by them, bytes.
    pub io_write_bytes: u64,
    /// Swapped out, bytes; where its cgroup counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<u64>,
    /// So long some task of it had to wait for a processor since its beginning, seconds; where its cgroup
    /// knows (pressure stall information, Documentation/accounting/psi.rst).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_stalled_seconds: Option<f64>,
    /// The same for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_stalled_seconds: Option<f64>,
    /// The same for storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stalled_seconds: Option<f64>,
    /// Received since its beginning, bytes; where it has a network namespace to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_received_bytes: Option<u64>,
    /// Sent since its beginning, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_sent_bytes: Option<u64>,
}

/// What is known of one live run.
#[derive(Debug, Default)]
struct OfRun {
    /// Where its files are.
    folder: PathBuf,
    newest: VecDeque<RunSample>,
    /// What goes into the span of the clock that goes on.
    open: Option<(Interval, BTreeMap<&'static str, Gathered>)>,
    traffic: Traffic,
    /// When its totals were last written.
    totals_at: Option<SystemTime>,
}

/// The newest samples of live runs, by id.
#[derive(Debug, Default)]
pub(super) struct Samples(HashMap<String, OfRun>);

/// A live run, as far as sampling needs it.
struct Live {
    id: String,
    attempt: u32,
    pid: u32,
    interval_ms: i64,
    tells: bool,
}

impl Jobs {
    /// Samples for as long as the agent runs.
    pub(super) fn begin_sampling(&self) {
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while !jobs.shared.ending.load(Ordering::Acquire) {
                ticks.tick().await;
                if jobs.counts().0 == 0 {
                    jobs.shared.samples.lock().0.drain().for_each(|(_, mut of_run)| of_run.close());
                    continue;
                }
                let sampling = jobs.clone();
                if tokio::task::spawn_blocking(move || sampling.sample()).await.is_err() {
                    tracing::error!("a pass over the live runs ended badly");
                }
            }
        });
    }

    fn sample(&self) {
        let live: Vec<Live> = {
            let state = self.shared.state.lock();
            let is_live = |state| matches!(state, RunState::Running | RunState::Stopping);
            let live = state.all().filter(|active| is_live(active.run.state));
            live.filter_map(|active| {
                let Run { id, attempt, pid, job, .. } = &active.run;
                let (interval_ms, tells) = (job.stats_interval.as_ms(), job.output == OutputKind::Levels);
                Some(Live { id: id.clone(), attempt: *attempt, pid: (*pid)?, interval_ms, tells })
            })
            .collect()
        };
        let base = self.shared.surroundings.cgroups.v2.as_deref();
        for Live { id, attempt, pid, interval_ms, tells } in &live {
            let cgroup = base.map(|base| base.join(format!("{id}.{attempt}")));
            let of_run =
                self.shared.samples.lock().0.get_mut(id).map(|known| std::mem::take(&mut known.traffic));
            let mut traffic = of_run.unwrap_or_default();
            let Some(sample) = take(cgroup.as_deref(), *pid, self.now_ms(), &mut traffic) else { continue };
            if let Some(active) = self.shared.state.lock().get_mut(id) {
                let usage = &mut active.run.usage;
                usage.memory_peak_bytes = usage.memory_peak_bytes.max(sample.memory_bytes);
                usage.processes_max = usage.processes_max.max(sample.processes);
                usage.threads_max = usage.threads_max.max(sample.threads);
                usage.files_max = usage.files_max.max(sample.files);
                usage.net_received_bytes = usage.net_received_bytes.max(sample.net_received_bytes);
                usage.net_sent_bytes = usage.net_sent_bytes.max(sample.net_sent_bytes);
            }
            let mut samples = self.shared.samples.lock();
            let of_run = samples.0.entry(id.clone()).or_default();
            of_run.folder = attempt_folder(&self.shared.runs, id, *attempt);
            of_run.traffic = traffic;
            of_run.take(sample, *interval_ms);
            let told = tells.then(|| of_run.totals()).flatten();
            drop(samples);
            if let Some(told) = told {
                self.note_told(id, told);
            }
        }
        let known: HashSet<&str> = live.iter().map(|live| live.id.as_str()).collect();
        self.shared.samples.lock().0.retain(|id, of_run| {
            let goes_on = known.contains(id.as_str());
            if !goes_on {
                of_run.close();
            }
            goes_on
        });
    }

    /// The newest samples of a live run, the oldest first.
    pub fn samples(&self, id: &str) -> Vec<RunSample> {
        self.shared
            .samples
            .lock()
            .0
            .get(id)
            .map_or_else(Vec::new, |of_run| of_run.newest.iter().copied().collect())
    }

    /// What runs that go on use at this moment: of this domain and job, where one is named; so many at
    /// most, the longest running first.
    pub fn live_runs(&self, domain: Option<&str>, job: Option<&str>, n_max: usize) -> LiveRuns {
        let is_meant = |run: &Run| {
            matches!(run.state, RunState::Running | RunState::Stopping)
                && domain.is_none_or(|domain| run.job.domain == domain)
                && job.is_none_or(|job| run.job.name == job)
        };
        let mut runs: Vec<LiveRun> = {
            let state = self.shared.state.lock();
            state.all().filter(|active| is_meant(&active.run)).map(|active| known(&active.run)).collect()
        };
        runs.sort_by_key(|run| run.started_ms);
        let n_left_out = runs.len().saturating_sub(n_max);
        runs.truncate(n_max);
        let samples = self.shared.samples.lock();
        for run in &mut runs {
            let Some(newest) = samples.0.get(&run.id).map(|of_run| &of_run.newest) else { continue };
            let before = newest.len().checked_sub(2).and_then(|place| newest.get(place));
            if let Some(sample) = newest.back() {
                take_sample(run, sample, before);
            }
        }
        LiveRuns { now_ms: self.now_ms(), runs, n_left_out }
    }

    /// What a run cost and told of itself, by spans of the clock; the newest so many.
    pub fn intervals(&self, run: &Run, n_max: usize) -> anyhow::Result<Vec<Interval>> {
        if n_max == 0 {
            return Ok(Vec::new());
        }
        let folder = attempt_folder(&self.shared.runs, &run.id, run.attempt);
        let files = [COST_FILE, TOLD_FILE].map(|name| folder.join(name));
        gather::read(&files, n_max).with_context(|| format!("cannot read the statistics of run {}", run.id))
    }

    /// What a run that goes on has told of itself counts at once, not only at its end.
    fn note_told(&self, id: &str, told: BTreeMap<String, RunStat>) {
        if let Some(active) = self.shared.state.lock().get_mut(id)
            && !active.is_ending
        {
            self.shared.tallies.note_live(&active.run, &told);
            active.run.stats = told;
        }
    }
}

/// What is known of a run that goes on without its samples.
fn known(run: &Run) -> LiveRun {
    LiveRun {
        id: run.id.clone(),
        job: run.job.name.clone(),
        domain: run.job.domain.clone(),
        started_ms: run.started_ms,
        pid: run.pid,
        memory_peak_bytes: run.usage.memory_peak_bytes,
        stats: run.stats.clone(),
        ..LiveRun::default()
    }
}

fn take_sample(run: &mut LiveRun, sample: &RunSample, before: Option<&RunSample>) {
    run.time_ms = sample.time_ms;
    run.cpu_seconds = sample.cpu_seconds;
    run.memory_bytes = sample.memory_bytes;
    run.processes = sample.processes;
    run.threads = sample.threads;
    run.files = sample.files;
    let Some(before) = before.filter(|before| before.time_ms < sample.time_ms) else { return };
    let seconds = (sample.time_ms - before.time_ms) as f64 / 1e3;
    let rate = |now: u64, then: u64| Some(now.saturating_sub(then) as f64 / seconds);
    run.cpu_cores = Some((sample.cpu_seconds - before.cpu_seconds).max(0.0) / seconds);
    run.read_bytes_per_second = rate(sample.io_read_bytes, before.io_read_bytes);
    run.written_bytes_per_second = rate(sample.io_write_bytes, before.io_write_bytes);
}

impl OfRun {
    fn take(&mut self, sample: RunSample, interval_ms: i64) {
        let is_over =
            |(interval, _): &(Interval, _)| !(interval.from_ms..interval.to_ms).contains(&sample.time_ms);
        if self.open.as_ref().is_some_and(is_over) {
            self.close();
        }
        let before = self.newest.back().copied();
        self.newest.push_back(sample);
        if self.newest.len() > N_SAMPLES_MAX {
            self.newest.pop_front();
        }
        let (_, open) =
            self.open.get_or_insert_with(|| (Interval::around(sample.time_ms, interval_ms), BTreeMap::new()));
        let mut add = |key, number: f64| {
            open.entry(key).or_insert_with(|| Gathered::new(StatKind::Gauge, true)).number(number);
        };
        add("memory_bytes", sample.memory_bytes as f64);
        add("processes", f64::from(sample.processes));
        add("threads", f64::from(sample.threads));
        add("open_files", f64::from(sample.files));
        sample.swap_bytes.into_iter().for_each(|bytes| add("swap_bytes", bytes as f64));
        let Some(before) = before.filter(|before| before.time_ms < sample.time_ms) else { return };
        let seconds = (sample.time_ms - before.time_ms) as f64 / 1e3;
        add("cpu_cores", (sample.cpu_seconds - before.cpu_seconds).max(0.0) / seconds);
        add(
            "read_bytes_per_second",
            sample.io_read_bytes.saturating_sub(before.io_read_bytes) as f64 / seconds,
        );
        add(
            "written_bytes_per_second",
            sample.io_write_bytes.saturating_sub(before.io_write_bytes) as f64 / seconds,
        );
        for (key, now, then) in [
            ("received_bytes_per_second", sample.net_received_bytes, before.net_received_bytes),
            ("sent_bytes_per_second", sample.net_sent_bytes, before.net_sent_bytes),
        ] {
            // Before the first one nothing was received or sent.
            now.into_iter().for_each(|now| {
                add(key, now.saturating_sub(then.unwrap_or(0)) as f64 / seconds);
            });
        }
        for (key, now, then) in [
            ("cpu_stalled_share", sample.cpu_stalled_seconds, before.cpu_stalled_seconds),
            ("memory_stalled_share", sample.memory_stalled_seconds, before.memory_stalled_seconds),
            ("io_stalled_share", sample.io_stalled_seconds, before.io_stalled_seconds),
        ] {
            let stalled = now.zip(then).map(|(now, then)| (now - then).max(0.0) / seconds);
            stalled.into_iter().for_each(|share| add(key, share));
        }
    }

    /// Writes down the span that goes on.
    fn close(&mut self) {
        let Some((mut interval, gathered)) = self.open.take() else { return };
        interval.values =
            gathered.iter().map(|(key, gathered)| ((*key).to_owned(), gathered.told())).collect();
        if let Err(error) = gather::append(&self.folder.join(COST_FILE), &interval) {
            tracing::debug!(folder = %self.folder.display(), %error, "what a run cost is not written");
        }
    }

    /// What the run has told of itself, if that is new.
    fn totals(&mut self) -> Option<BTreeMap<String, RunStat>> {
        let path = self.folder.join(TOTALS_FILE);
        let at = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        if self.totals_at == Some(at) {
            return None;
        }
        self.totals_at = Some(at);
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

fn take(cgroup: Option<&Path>, pid: u32, time_ms: TimeMs, traffic: &mut Traffic) -> Option<RunSample> {
    let list = || {
        let listed = cgroup.and_then(|path| fs::read_to_string(path.join("cgroup.procs")).ok());
        match listed {
            Some(text) => text.lines().filter_map(|line| line.parse().ok()).collect(),
            None => family(pid),
        }
    };
    let pids: Vec<u32> = list();
    let mut sample = RunSample { time_ms, ..RunSample::default() };
    let mut cpu_ticks = 0;
    let network = traffic.look(&pids[..pids.len().min(N_PROCESSES_MAX)], list);
    sample.net_received_bytes = network.map(|bytes| bytes.received);
    sample.net_sent_bytes = network.map(|bytes| bytes.sent);
    for pid in pids.into_iter().take(N_PROCESSES_MAX) {
        // One that has ended meanwhile is simply not there.
        let Some((ticks, threads)) = stat(pid) else { continue };
        cpu_ticks += ticks;
        sample.processes += 1;
        sample.threads += threads;
        sample.memory_bytes += resident(pid);
        sample.files += open_files(pid);
        let (read, written) = storage(pid);
        sample.io_read_bytes += read;
        sample.io_write_bytes += written;
    }
    let counted = cgroup.and_then(cpu_of);
    sample.cpu_seconds = counted.unwrap_or(cpu_ticks as f64 / TICKS_PER_SECOND);
    if let Some(cgroup) = cgroup {
        let swap = fs::read_to_string(cgroup.join("memory.swap.current"));
        sample.swap_bytes = swap.ok().and_then(|text| text.trim().parse().ok());
        sample.cpu_stalled_seconds = stalled_seconds(&cgroup.join("cpu.pressure"));
        sample.memory_stalled_seconds = stalled_seconds(&cgroup.join("memory.pressure"));
        sample.io_stalled_seconds = stalled_seconds(&cgroup.join("io.pressure"));
    }
    (sample.processes > 0).then_some(sample)
}

/// A process and all that descend from it, where there is no cgroup to ask.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() && all.len() < N_PROCESSES_MAX {
        let pid = all[next];
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    all
}

fn cpu_of(cgroup: &Path) -> Option<f64> {
    let text = fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
    let micros: u64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
    Some(micros as f64 / 1e6)
}

/// How long some task had to wait in all, from a file of pressure.
fn stalled_seconds(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let micros: u64 = some.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()?;
    Some(micros as f64 / 1e6)
}

/// Ticks of processor time and threads, from /proc/PID/stat (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<(u64, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some((number(11)? + number(12)?, u32::try_from(number(17)?).ok()?))
}

fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// On kernels from 6.2 on the size of the folder is the number of files in it.
fn open_files(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/fd")).map_or(0, |metadata| u32::try_from(metadata.len()).unwrap_or(0))
}

fn storage(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    (number("read_bytes:"), number("write_bytes:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_sampled() {
        let sample = take(None, std::process::id(), 7, &mut Traffic::default()).unwrap();
        assert_eq!((sample.time_ms, sample.processes >= 1, sample.threads >= 1), (7, true, true));
        assert!(sample.memory_bytes > 1 << 20);
        assert_eq!(take(None, u32::MAX - 1, 7, &mut Traffic::default()), None);
    }

    #[test]
    fn pressure_and_swap_of_a_cgroup_are_read_and_told_as_shares() {
        let cgroup = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(cgroup.path().join(name), text).unwrap();
        write("cgroup.procs", &format!("{}\n", std::process::id()));
        write("memory.swap.current", "4096\n");
        write("io.pressure", "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n");
        write(
            "cpu.pressure",
            "some avg10=1.00 avg60=0.10 avg300=0.02 total=1500000\nfull avg10=0.00 total=7\n",
        );
        let first = take(Some(cgroup.path()), 1, 1_000, &mut Traffic::default()).unwrap();
        assert_eq!((first.swap_bytes, first.cpu_stalled_seconds), (Some(4_096), Some(1.5)));
        assert_eq!((first.memory_stalled_seconds, first.io_stalled_seconds), (None, None));
        write("cpu.pressure", "some avg10=1.00 avg60=0.10 avg300=0.02 total=2000000\n");
        let mut of_run = OfRun::default();
        of_run.take(first, 10_000);
        of_run.take(take(Some(cgroup.path()), 1, 3_000, &mut Traffic::default()).unwrap(), 10_000);
        let told = of_run.open.as_ref().unwrap().1.iter().map(|(key, gathered)| (*key, gathered.told()));
        let told: BTreeMap<_, _> = told.collect();
        assert_eq!(told["cpu_stalled_share"].last, 0.25);
        assert!(told.contains_key("swap_bytes") && !told.contains_key("io_stalled_share"), "{told:?}");
    }
}
