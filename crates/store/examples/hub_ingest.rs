//! Measures how fast a hub's store takes in sealed windows: simulated agents of 500 series at one
//! second, windows of ten ticks, an hour of their time as fast as it goes, and the merge of it.
//!
//! `hub_ingest FOLDER N_AGENTS N_ROUNDS`: prints samples per second, CPU per sample, bytes per
//! sample as received and once merged. The windows are made before the clock starts.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use fieldpost_model::{ByteSize, Family, Frame, Item, Kind, Stream};
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{Answer, Batch, HubStore, HubStoreOptions, NotTaken};
use fieldpost_store::record::{Definition, encode_definitions};

const START_MS: i64 = 1_795_219_200_000;
const WINDOW_MS: i64 = 10_000;
const N_SERIES: u32 = 500;
const N_TICKS: i64 = 10;
/// Windows that are made in advance; the agents send them in turn, each under its own instants.
const N_SHAPES: i64 = 16;
/// Batches that may be on their way to the disk at once: a link each.
const N_ON_THE_WAY: usize = 512;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, n_agents, n_rounds] = &arguments[..] else {
        return Err("usage: hub_ingest FOLDER N_AGENTS N_ROUNDS".into());
    };
    let (n_agents, n_rounds): (i64, i64) = (n_agents.parse()?, n_rounds.parse()?);
    let now_ms = Arc::new(AtomicI64::new(START_MS));
    let clock = Arc::clone(&now_ms);
    let (store, _) = HubStore::open(HubStoreOptions {
        min_free: ByteSize(0),
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..HubStoreOptions::new(folder.into())
    })?;
    let definitions = definitions();
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let mut making = Duration::ZERO;
    for round in 0..n_rounds {
        let from_ms = START_MS + round * WINDOW_MS;
        now_ms.store(from_ms + WINDOW_MS, Ordering::Relaxed);
        let began = Instant::now();
        let blobs: Vec<Vec<u8>> =
            (0..N_SHAPES).map(|shape| window(from_ms, round * N_SHAPES + shape)).collect();
        making += began.elapsed();
        bring(&store, round, from_ms, n_agents, &blobs, &definitions)?;
    }
    // Making the windows is the agents' work.
    let taken = (wall.elapsed() - making).as_secs_f64();
    let cpu_used = cpu_seconds() - cpu - making.as_secs_f64();
    let n_samples = (n_agents * n_rounds * N_TICKS * i64::from(N_SERIES)) as f64;
    let received = store.stats().bytes as f64;
    now_ms.fetch_add(2 * 3_600_000, Ordering::Relaxed);
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let tended = store.tend(Duration::from_secs(3_600));
    let (merge_seconds, merge_cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let merged = store.stats().bytes as f64;
    writeln!(
        std::io::stdout(),
        "{n_samples:.0} samples in {taken:.1} s: {:.2} M/s, {:.2} us of CPU a sample (made the windows apart: {:.1} s)\n\
         {:.3} bytes a sample as received\n\
         merged ({tended}) in {merge_seconds:.1} s, {:.2} us of CPU a sample, {:.3} bytes a sample",
        n_samples / taken / 1e6,
        cpu_used / n_samples * 1e6,
        making.as_secs_f64(),
        received / n_samples,
        merge_cpu / n_samples * 1e6,
        merged / n_samples,
    )?;
    store.close()?;
    Ok(())
}

/// One window of every agent, as many at a time as there would be links with something to say.
fn bring(
    store: &HubStore,
    round: i64,
    from_ms: i64,
    n_agents: i64,
    blobs: &[Vec<u8>],
    definitions: &[u8],
) -> Result<(), Failure> {
    let (sender, answers) = sync_channel::<Answer>(N_ON_THE_WAY * 2);
    let (mut on_the_way, mut done) = (0, 0);
    for agent in 0..n_agents {
        let blob = blobs[agent as usize % blobs.len()].clone();
        let item = Item {
            seq: round as u64 + 1,
            from_ms,
            to_ms: from_ms + WINDOW_MS,
            n_samples: (N_TICKS * i64::from(N_SERIES)) as u64,
            checksum: checksum(&blob),
            blob,
        };
        let mut frames = vec![Frame::Scope("day".into())];
        if round == 0 {
            frames.push(Frame::Definitions(definitions.to_vec()));
        }
        frames.push(Frame::Item(item));
        let (agent_id, spool_id) = (format!("{agent:032x}"), "s".to_owned());
        let mut batch = Batch { agent_id, spool_id, stream: Stream::Metrics, frames };
        loop {
            let sender = sender.clone();
            match store.append(batch, move |answer| drop(sender.send(answer))) {
                Ok(()) => break,
                Err(NotTaken::Full(waiting)) => batch = waiting,
                Err(other) => return Err(format!("{other:?}").into()),
            }
            wait(&answers, &mut done)?;
        }
        on_the_way += 1;
        while on_the_way - done >= N_ON_THE_WAY {
            wait(&answers, &mut done)?;
        }
    }
    while done < on_the_way {
        wait(&answers, &mut done)?;
    }
    Ok(())
}

fn wait(answers: &std::sync::mpsc::Receiver<Answer>, done: &mut usize) -> Result<(), Failure> {
    let answer = answers.recv()?.map_err(|error| error.to_string())?;
    if let Some(refused) = answer.refused.first() {
        return Err(format!("refused: {}", refused.reason).into());
    }
    *done += 1;
    Ok(())
}

fn definitions() -> Vec<u8> {
    let one = |id: u32| Definition {
        id,
        family: Family {
            name: format!("node_metric_{}", id / 8).into(),
            help: "A metric.".into(),
            kind: Kind::Counter,
        },
        suffix: String::new(),
        labels: vec![("device".into(), format!("d{}", id % 8))],
    };
    encode_definitions(&(0..N_SERIES).map(one).collect::<Vec<_>>()).0
}

/// A third of the series stand still, a third count steadily, a third go up and down.
fn window(from_ms: i64, salt: i64) -> Vec<u8> {
    let times: Vec<i64> = (0..N_TICKS).map(|tick| from_ms + tick * 1_000).collect();
    let ids: Vec<u32> = (0..N_SERIES).collect();
    let mut values = Vec::with_capacity(times.len() * ids.len());
    for id in &ids {
        for time_ms in &times {
            let seconds = (time_ms - START_MS) / 1_000;
            let wild = (seconds * 7_919 + i64::from(*id) * 104_729 + salt * 31).rem_euclid(1_009);
            values.push(match id % 3 {
                0 => f64::from(*id),
                1 => (seconds * i64::from(*id) + wild / 100) as f64,
                _ => 5_000.0 + wild as f64,
            });
        }
    }
    encode_window([(&times[..], &ids[..], &values[..])].into_iter())
}

/// CPU time of this process, seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / f64::from(fieldpost_model::USER_HZ)
}
