//! The agent's own metrics: asks its rooms for their counts at a scrape and writes them to the page.

use std::sync::Arc;

use fieldpost_formats::write;
use fieldpost_model::job::{RunStat, StatKind};

use crate::agent::Agent;
use crate::api;
use crate::jobs::{JobTally, Jobs};
use crate::sinks::Sinks;
use crate::telemetry::{OwnMetrics, Readings};

/// Own metrics in the dialect of the page.
pub fn own_page(own: OwnMetrics) -> api::OwnMetrics {
    Box::new(move |dialect, out| {
        for (family, samples) in own.families() {
            write::header(out, dialect, &family, |_| false);
            for (series, value) in samples {
                write::sample(out, &series, value);
            }
        }
    })
}

/// Has the sampler and the store asked at every scrape.
pub fn tell_own(own: &OwnMetrics, agent: &Arc<Agent>) {
    let asked = Arc::downgrade(agent);
    own.ask(move |readings| {
        if let Some(agent) = asked.upgrade() {
            tell_sampler(readings, &agent);
            tell_store(readings, &agent.store_stats());
        }
    });
}

/// Has the jobs asked at every scrape.
pub fn tell_jobs(own: &OwnMetrics, jobs: &Jobs) {
    let asked = jobs.clone();
    own.ask(move |readings| {
        let (n_live, n_waiting) = asked.counts();
        readings.gauge("fieldpost_runs_live", "Runs that go on.", &[], f64::from(n_live));
        readings.gauge("fieldpost_runs_waiting", "Runs that wait for their turn.", &[], n_waiting as f64);
        for ((domain, name), tally) in asked.tallies() {
            tell_job(readings, &[("domain", domain.as_str()), ("name", name.as_str())], &tally);
        }
    });
}

fn tell_job(readings: &mut Readings, job: &[(&str, &str)], tally: &JobTally) {
    let with = |label: (&'static str, &'static str)| [job, &[label]].concat();
    for (state, n_runs) in &tally.n_runs {
        let help = "Runs of a job that are over, by the state in which they ended.";
        readings.counter("fieldpost_job_runs_total", help, &with(("state", state)), *n_runs as f64);
    }
    for (direction, bytes) in [("read", tally.io_read_bytes), ("write", tally.io_write_bytes)] {
        let help = "Bytes that runs of a job have read from and written to storage.";
        readings.counter("fieldpost_job_io_bytes_total", help, &with(("direction", direction)), bytes as f64);
    }
    if let Some((received, sent)) = tally.net_bytes {
        let help = "Bytes that runs of a job with a network namespace of their own have received and sent.";
        for (direction, bytes) in [("receive", received), ("transmit", sent)] {
            let labels = with(("direction", direction));
            readings.counter("fieldpost_job_network_bytes_total", help, &labels, bytes as f64);
        }
    }
    for (metric, help, value) in [
        ("fieldpost_job_run_seconds_total", "How long runs of a job took together.", tally.seconds),
        ("fieldpost_job_cpu_seconds_total", "Processor time of runs of a job.", tally.cpu_seconds),
        (
            "fieldpost_job_queue_seconds_total",
            "How long runs of a job waited before they began.",
            tally.waited_seconds,
        ),
    ] {
        readings.counter(metric, help, job, value);
    }
    for (key, stat) in &tally.stats {
        tell_stat(readings, &[job, &[("key", key.as_str())]].concat(), stat);
    }
    let success = "When the newest run of a job ended that succeeded.";
    for (metric, help, value) in [
        (
            "fieldpost_job_memory_peak_bytes",
            "The most memory of the newest run of a job.",
            Some(tally.memory_peak_bytes as f64),
        ),
        (
            "fieldpost_job_last_run_seconds",
            "How long the newest run of a job took.",
            Some(tally.last_seconds),
        ),
        (
            "fieldpost_job_last_end_timestamp_seconds",
            "When the newest run of a job ended.",
            Some(tally.last_end),
        ),
        ("fieldpost_job_last_success_timestamp_seconds", success, tally.last_success),
    ] {
        if let Some(value) = value.filter(|value| *value > 0.0) {
            readings.gauge(metric, help, job, value);
        }
    }
}

fn tell_stat(readings: &mut Readings, labels: &[(&str, &str)], stat: &RunStat) {
    match stat.kind {
        StatKind::Gauge | StatKind::Set => {
            let help = "What the newest run of a job told of itself (level 10, kinds g, kv and s).";
            readings.gauge("fieldpost_job_value", help, labels, stat.last);
        }
        StatKind::Count => {
            let help = "What runs of a job have counted (level 10, kind c).";
            readings.counter("fieldpost_job_count_total", help, labels, stat.sum.max(0.0));
        }
        StatKind::Timing => {
            let help = "How long what runs of a job have timed took together (level 10, kind ms).";
            readings.counter("fieldpost_job_timed_seconds_total", help, labels, stat.sum.max(0.0) / 1e3);
            let help = "How often runs of a job have timed something (level 10, kind ms).";
            readings.counter("fieldpost_job_timings_total", help, labels, stat.count as f64);
        }
    }
}

/// Has the sinks asked at every scrape.
pub fn tell_sinks(own: &OwnMetrics, sinks: &Arc<Sinks>) {
    let asked = Arc::clone(sinks);
    own.ask(move |readings| {
        for (name, now) in asked.stats() {
            let sink = [("sink", name)];
            for (metric, help, count) in [
                ("fieldpost_sink_samples_total", "Samples that the receiver has taken.", now.n_sent),
                (
                    "fieldpost_sink_refused_samples_total",
                    "Samples that the receiver refused for good.",
                    now.n_refused,
                ),
                (
                    "fieldpost_sink_lost_windows_total",
                    "Windows that were gone before they could be sent.",
                    now.n_lost_items,
                ),
                ("fieldpost_sink_retries_total", "Requests that were sent again.", now.n_retries),
                ("fieldpost_sink_bytes_total", "Bytes of requests that were taken.", now.n_bytes),
            ] {
                readings.counter(metric, help, &sink, count as f64);
            }
            let help = "Windows that are still to be sent.";
            readings.gauge("fieldpost_sink_lag_windows", help, &sink, now.lag_items as f64);
            let help = "1 while the receiver cannot be reached or takes nothing.";
            readings.gauge("fieldpost_sink_failing", help, &sink, f64::from(u8::from(now.is_failing)));
        }
    });
}

fn tell_sampler(readings: &mut Readings, agent: &Agent) {
    use std::sync::atomic::Ordering::Relaxed;
    let stats = &agent.stats;
    let seconds = |microseconds: u64| microseconds as f64 / 1e6;
    let counts = [
        ("fieldpost_sampler_ticks_total", "Ticks that were taken.", &stats.ticks),
        ("fieldpost_sampler_skipped_ticks_total", "Ticks that had passed by.", &stats.skipped),
        (
            "fieldpost_sampler_overruns_total",
            "Passes of collectors left out because the one before had not ended.",
            &stats.overruns,
        ),
    ];
    for (name, help, count) in counts {
        readings.counter(name, help, &[], count.load(Relaxed) as f64);
    }
    let help = "How late the last tick began.";
    readings.gauge(
        "fieldpost_sampler_lateness_seconds",
        help,
        &[],
        seconds(stats.late_microseconds.load(Relaxed)),
    );
    let help = "The latest that any tick began since the start.";
    let latest = stats.late_max_microseconds.load(Relaxed);
    readings.gauge("fieldpost_sampler_lateness_max_seconds", help, &[], seconds(latest));
    let help = "Series refused because another collector feeds the very same one.";
    readings.counter("fieldpost_series_refused_total", help, &[], agent.catalog.refused() as f64);
    let help = "Who watches the live lane at this moment.";
    readings.gauge("fieldpost_live_watchers", help, &[], agent.watchers.n_watching() as f64);
    tell_stuck(readings, agent);
}

/// The age of values is told only of collectors that do not answer: all others are as old as
/// their interval, and a hundred series more would cost every scrape.
fn tell_stuck(readings: &mut Readings, agent: &Agent) {
    let now_ms = agent.clock.wall_ms();
    let board = agent.board.read();
    let stuck = || board.collectors().iter().filter(|state| state.stuck_since_ms.is_some());
    readings.gauge(
        "fieldpost_collectors_stuck",
        "Collectors that do not answer.",
        &[],
        stuck().count() as f64,
    );
    for state in stuck() {
        let help = "Age of the newest values of a collector that does not answer.";
        let age = (now_ms - state.time_ms).max(0) as f64 / 1e3;
        readings.gauge("fieldpost_collector_age_seconds", help, &[("collector", state.name)], age);
    }
}

fn tell_store(readings: &mut Readings, stats: &fieldpost_store::StoreStats) {
    let counts = [
        ("fieldpost_store_samples_total", "Samples committed to the store.", stats.n_samples_stored),
        ("fieldpost_store_lost_samples_total", "Samples that could not be stored.", stats.n_samples_lost),
    ];
    for (name, help, count) in counts {
        readings.counter(name, help, &[], count as f64);
    }
    readings.gauge("fieldpost_store_size_bytes", "Bytes of the store on disk.", &[], stats.bytes as f64);
}
