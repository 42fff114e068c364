//! How fast the dashboard is, and what it costs: measured by the same browser that plays the stories, by
//! `make pages`. Nothing here is asserted; times belong to the machine they were taken on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fieldpost_bed::{Hub, now_ms};
use fieldpost_model::hub_record::{Batch, NotTaken, RecordWriter as _};
use fieldpost_model::hub_state::{Act, Actor};
use fieldpost_model::{Family, Frame, Item, Kind, Stream, TimeMs};
use fieldpost_store::SqliteHubState;
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::record::{Definition, encode_definitions};

use super::{HOST, LargeFleet, N_LARGE, Stage, admit, given, play};
use crate::hub_faults::{joined, program, wait_until_up};

/// Hosts of the fleet that is drawn.
const N_HOSTS: usize = 100;
/// Each has so much of the past; the first one has more, of each second.
const PAST_MS: i64 = 1_800_000;
const LONG_PAST_MS: i64 = 25 * 3_600_000;
/// And so much that is yet to come, for it takes a while until a browser looks; more the hub does not take.
const AHEAD_MS: i64 = 480_000;
/// Of a window.
const WINDOW_MS: i64 = 60_000;
/// Pause while a store has no room.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// How long a live page is watched unless FIELDPOST_BENCH_SECONDS says otherwise.
const LIVE_SECONDS: u64 = 120;

/// Name, labels, and growth a second; of what does not grow, the value.
type Series = (&'static str, &'static [(&'static str, &'static str)], f64, bool);

/// What the panels of a host are drawn of.
const SERIES: [Series; 44] = [
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")], 0.4, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "system")], 0.1, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "nice")], 0.0, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "irq")], 0.0, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "softirq")], 0.01, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "steal")], 0.01, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "iowait")], 0.03, true),
    ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")], 0.45, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "user")], 0.2, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "system")], 0.1, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "nice")], 0.0, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "irq")], 0.0, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "softirq")], 0.01, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "steal")], 0.01, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "iowait")], 0.03, true),
    ("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "idle")], 0.65, true),
    ("node_memory_MemTotal_bytes", &[], 16e9, false),
    ("node_memory_MemAvailable_bytes", &[], 9e9, false),
    ("node_memory_MemFree_bytes", &[], 2e9, false),
    ("node_load1", &[], 1.5, false),
    ("node_load5", &[], 1.2, false),
    ("node_load15", &[], 1.1, false),
    ("node_procs_running", &[], 3.0, false),
    ("node_pressure_cpu_waiting_seconds_total", &[], 0.2, true),
    ("node_pressure_memory_waiting_seconds_total", &[], 0.01, true),
    ("node_pressure_io_waiting_seconds_total", &[], 0.05, true),
    ("node_pressure_io_stalled_seconds_total", &[], 0.02, true),
    ("node_disk_read_bytes_total", &[("device", "vda")], 2e6, true),
    ("node_disk_written_bytes_total", &[("device", "vda")], 5e6, true),
    ("node_disk_io_time_seconds_total", &[("device", "vda")], 0.2, true),
    ("node_disk_read_time_seconds_total", &[("device", "vda")], 0.1, true),
    ("node_disk_write_time_seconds_total", &[("device", "vda")], 0.3, true),
    ("node_disk_reads_completed_total", &[("device", "vda")], 40.0, true),
    ("node_disk_writes_completed_total", &[("device", "vda")], 90.0, true),
    (
        "node_filesystem_size_bytes",
        &[("mountpoint", "/"), ("fstype", "ext4"), ("device", "vda1")],
        1e11,
        false,
    ),
    (
        "node_filesystem_avail_bytes",
        &[("mountpoint", "/"), ("fstype", "ext4"), ("device", "vda1")],
        4e10,
        false,
    ),
    ("node_network_receive_bytes_total", &[("device", "eth0")], 3e6, true),
    ("node_network_transmit_bytes_total", &[("device", "eth0")], 1e6, true),
    ("node_network_receive_errs_total", &[("device", "eth0")], 0.0, true),
    ("node_network_receive_drop_total", &[("device", "eth0")], 0.0, true),
    ("node_netstat_Tcp_RetransSegs", &[], 0.4, true),
    ("node_sockstat_TCP_inuse", &[], 120.0, false),
    ("node_netstat_Tcp_CurrEstab", &[], 80.0, false),
    ("node_context_switches_total", &[], 9e3, true),
];

#[test]
#[ignore = "measures, by `make pages`"]
fn numbers_of_the_dashboard_are_taken() {
    let mut hub = Hub::start(program(), "").unwrap();
    hub.stop().unwrap();
    fill(&hub.data());
    hub.start_again().unwrap();
    // The link that was printed first went with the process that printed it.
    let said = hub.client(&["user", "add", "ada", "--role", "admin"]).unwrap();
    let link = said.split_whitespace().find(|word| word.contains("/#sign-in=")).unwrap().to_owned();
    // As it is without a word in its config: samples of each second, tables of each fifth.
    let agent = joined(&hub, "", HOST);
    wait_until_up(&hub, &agent, HOST);
    let mut stage = Stage::new(hub, agent);
    stage.large = Some(LargeFleet::new());
    let mut given = given(&mut stage, &link);
    let seconds = std::env::var("FIELDPOST_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    given["live_seconds"] = seconds.unwrap_or(LIVE_SECONDS).into();
    given["n_hosts"] = N_HOSTS.into();
    given["n_large"] = N_LARGE.into();
    given["long"] = name(0).into();
    play("numbers.mjs", &given.to_string(), |what| match what {
        "cpu" => cpu_seconds(stage.hub.process().pid()).to_string(),
        other => stage.have(other),
    });
}

/// CPU time of a process, seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn name(n: usize) -> String {
    format!("shown-{n:03}")
}

/// Enters hosts and what they have measured.
fn fill(data: &Path) {
    let state = SqliteHubState::open(data).unwrap();
    let act = Act { actor: Actor::Hub, address: None, now_ms: now_ms() };
    let (store, _) = HubStore::open(HubStoreOptions::new(data.join("record"))).unwrap();
    for n in 0..N_HOSTS {
        admit(&state, &act, 0x1000 + n, &name(n), "web");
        let (past_ms, tick_ms) = if n == 0 { (LONG_PAST_MS, 1_000) } else { (PAST_MS, 10_000) };
        record(&store, &format!("{:032x}", 0x1000 + n), n, past_ms, tick_ms);
    }
    store.close().unwrap();
}

fn definitions() -> Vec<Frame> {
    let one = |(n, (name, labels, _, grows)): (usize, &Series)| {
        let kind = if *grows { Kind::Counter } else { Kind::Gauge };
        let family = Family { name: (*name).into(), help: "A number of the host.".into(), kind };
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Definition { id: n as u32, family, suffix: String::new(), labels }
    };
    let all: Vec<Definition> = SERIES.iter().enumerate().map(one).collect();
    let (blob, n) = encode_definitions(&all);
    assert_eq!(n, all.len());
    vec![Frame::Scope("day".to_owned()), Frame::Definitions(blob)]
}

/// Rises and falls over minutes, otherwise for each host.
fn value(series: &Series, host: usize, time_ms: TimeMs) -> f64 {
    let seconds = time_ms as f64 / 1_000.0;
    let wave = 1.0 + 0.3 * (seconds / (300.0 + host as f64)).sin();
    match series.3 {
        true => (series.2 * (seconds + 90.0 * wave) * 100.0).round() / 100.0,
        false => (series.2 * wave * 100.0).round() / 100.0,
    }
}

fn record(store: &HubStore, agent_id: &str, host: usize, past_ms: i64, tick_ms: i64) {
    let until_ms = now_ms() + AHEAD_MS;
    let mut from_ms = (now_ms() - past_ms).div_euclid(WINDOW_MS) * WINDOW_MS;
    let (n_waiting, mut seq) = (Arc::new(AtomicUsize::new(0)), 1);
    while from_ms < until_ms {
        let mut frames = if seq == 1 { definitions() } else { vec![Frame::Scope("day".to_owned())] };
        frames.push(Frame::Item(window(host, seq, from_ms, tick_ms)));
        let (agent_id, spool_id) = (agent_id.to_owned(), "spool".to_owned());
        let mut batch = Batch { agent_id, spool_id, stream: Stream::Metrics, frames };
        n_waiting.fetch_add(1, Ordering::Relaxed);
        loop {
            let n_waiting = Arc::clone(&n_waiting);
            let done = move |answer: fieldpost_model::hub_record::Answer| {
                let refused = answer.map(|accepted| accepted.refused);
                assert!(refused.as_ref().is_ok_and(Vec::is_empty), "{refused:?}");
                n_waiting.fetch_sub(1, Ordering::Relaxed);
            };
            match store.append(batch, Box::new(done)) {
                Ok(()) => break,
                Err(NotTaken::Full(back)) => batch = back,
                Err(other) => panic!("the store takes nothing: {other:?}"),
            }
            std::thread::sleep(FULL_PAUSE);
        }
        (from_ms, seq) = (from_ms + WINDOW_MS, seq + 1);
    }
    while n_waiting.load(Ordering::Relaxed) > 0 {
        std::thread::sleep(FULL_PAUSE);
    }
}

fn window(host: usize, seq: u64, from_ms: TimeMs, tick_ms: i64) -> Item {
    let times_ms: Vec<TimeMs> = (0..WINDOW_MS / tick_ms).map(|tick| from_ms + tick * tick_ms).collect();
    let ids: Vec<u32> = (0..SERIES.len() as u32).collect();
    let column = |series| times_ms.iter().map(move |time_ms| value(series, host, *time_ms));
    let values: Vec<f64> = SERIES.iter().flat_map(column).collect();
    let blob = encode_window([(&times_ms[..], &ids[..], &values[..])].into_iter());
    let n_samples = values.len() as u64;
    Item { seq, from_ms, to_ms: from_ms + WINDOW_MS, n_samples, checksum: checksum(&blob), blob }
}
