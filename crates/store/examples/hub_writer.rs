//! Brings windows of some agents, which can be computed anew, to a hub's store, and prints the
//! number of each round that was acknowledged, until it is killed: for tests of crashes.
//!
//! `hub_writer FOLDER FIRST_ROUND N_AGENTS STEP`; window n of every agent begins at n * STEP
//! seconds after 2026-11-21, and the store's clock goes with it. Every batch brings the last two
//! windows once more, as an agent does whose acknowledgement was cut off.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::sync_channel;

use fieldpost_model::hub_record::{Answer, Batch, RecordWriter};
use fieldpost_model::{ByteSize, Family, Frame, Item, Kind, Period, Stream};
use fieldpost_store::Retention;
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::record::{Definition, encode_definitions};

const START_MS: i64 = 1_795_219_200_000;
const N_SERIES: u32 = 20;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, first, n_agents, step] = &arguments[..] else {
        return Err("usage: hub_writer FOLDER FIRST_ROUND N_AGENTS STEP".into());
    };
    let (first, n_agents, step_ms): (i64, i64, i64) =
        (first.parse()?, n_agents.parse()?, step.parse::<i64>()? * 1000);
    let now_ms = Arc::new(AtomicI64::new(START_MS + first * step_ms));
    let clock = Arc::clone(&now_ms);
    // However far the turned clock goes, nothing goes by its age.
    let retention = Retention { raw: Period::from_secs(1 << 31), ..Retention::default() };
    let (store, opened) = HubStore::open(HubStoreOptions {
        retention,
        min_free: ByteSize(0),
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..HubStoreOptions::new(folder.into())
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "open {}", opened.quarantined.len())?;
    for n in first.. {
        now_ms.store(START_MS + n * step_ms + 10_000, Ordering::Relaxed);
        bring(&store, n, n_agents, step_ms)?;
        writeln!(out, "{n}")?;
        out.flush()?;
    }
    Ok(())
}

/// One round: all agents at once, so that their windows are committed together.
fn bring(store: &HubStore, n: i64, n_agents: i64, step_ms: i64) -> Result<(), Failure> {
    let (sender, receiver) = sync_channel(n_agents as usize);
    for agent in 0..n_agents {
        let sender = sender.clone();
        let done = move |answer: Answer| {
            // Nobody waits any more when the program ends.
            let _ = sender.send(answer.map_err(|error| error.to_string()));
        };
        store.append(batch(agent, n, step_ms), Box::new(done)).map_err(|refused| format!("{refused:?}"))?;
    }
    for _ in 0..n_agents {
        let accepted = receiver.recv()??;
        if !accepted.numbers.contains(n as u64 + 1) {
            return Err(format!("window {n} is not acknowledged: {accepted:?}").into());
        }
    }
    Ok(())
}

fn batch(agent: i64, n: i64, step_ms: i64) -> Batch {
    let family = Family { name: "x".into(), help: "Test.".into(), kind: Kind::Gauge };
    let series = (0..N_SERIES).map(|id| Definition {
        id,
        family: family.clone(),
        suffix: String::new(),
        labels: vec![("n".into(), id.to_string())],
    });
    let mut frames = vec![Frame::Scope("day".into())];
    frames.push(Frame::Definitions(encode_definitions(&series.collect::<Vec<_>>()).0));
    frames.extend((n.saturating_sub(2).max(0)..=n).map(|n| Frame::Item(window(agent, n, step_ms))));
    let agent_id = format!("agent-{agent}");
    Batch { agent_id, spool_id: "spool".into(), stream: Stream::Metrics, frames }
}

fn window(agent: i64, n: i64, step_ms: i64) -> Item {
    let from_ms = START_MS + n * step_ms;
    let times_ms: Vec<i64> = (0..10).map(|tick| from_ms + tick * 1000).collect();
    let ids: Vec<u32> = (0..N_SERIES).collect();
    let value = |series: &u32, time_ms: &i64| ((time_ms / 1000) * (i64::from(*series) + 1) + agent) as f64;
    let values: Vec<f64> =
        ids.iter().flat_map(|series| times_ms.iter().map(move |time_ms| value(series, time_ms))).collect();
    let blob = encode_window([(&times_ms[..], &ids[..], &values[..])].into_iter());
    Item {
        seq: n as u64 + 1,
        from_ms,
        to_ms: from_ms + 10_000,
        n_samples: values.len() as u64,
        checksum: checksum(&blob),
        blob,
    }
}
