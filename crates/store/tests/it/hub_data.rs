//! What agents send, and a hub's store in a folder of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fieldpost_model::hub_record::{Accepted, Batch};
use fieldpost_model::{Family, Frame, Item, Kind, Lost, Seq, Stream, TimeMs};
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::{AgentLabels, HubOpened, HubReader, HubStore, HubStoreOptions};
use fieldpost_store::record::{Definition, encode_definitions};

use crate::data::{START_MS, value_of};

/// Series of each agent.
pub const N_SERIES: usize = 20;

/// A hub's store under a clock that tests set.
pub struct HubBench {
    pub folder: tempfile::TempDir,
    pub now_ms: Arc<AtomicI64>,
}

impl HubBench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), now_ms: Arc::new(AtomicI64::new(START_MS)) }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn set_clock(&self, now_ms: TimeMs) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub fn options(&self) -> HubStoreOptions {
        let (wall, steady) = (Arc::clone(&self.now_ms), Arc::clone(&self.now_ms));
        HubStoreOptions {
            min_free: fieldpost_model::ByteSize(0),
            clock: Arc::new(move || wall.load(Ordering::Relaxed)),
            monotonic: Arc::new(move || Duration::from_millis(steady.load(Ordering::Relaxed) as u64)),
            ..HubStoreOptions::new(self.path().to_owned())
        }
    }

    pub fn open(&self) -> (HubStore, HubOpened) {
        HubStore::open(self.options()).unwrap()
    }

    pub fn reader(&self) -> HubReader {
        HubReader::open(self.path(), names()).unwrap()
    }

    /// Names of database files that begin like this.
    pub fn files(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with(prefix) && name.ends_with(".db")).collect();
        names.sort();
        names
    }
}

/// Agents are called after their ids.
pub fn names() -> AgentLabels {
    Arc::new(|agent_id| vec![("instance".into(), format!("name of {agent_id}"))])
}

/// Series `x{n="0"}` and so on.
pub fn definitions(n_series: usize) -> Vec<u8> {
    let family = Family { name: "x".into(), help: "Help of x.".into(), kind: Kind::Counter };
    let one = |n: usize| Definition {
        id: n as u32,
        family: family.clone(),
        suffix: String::new(),
        labels: vec![("n".into(), n.to_string())],
    };
    encode_definitions(&(0..n_series).map(one).collect::<Vec<_>>()).0
}

/// A window of ten seconds that says when, of which series and from whom it is.
pub fn item(agent: usize, seq: Seq, from_ms: TimeMs) -> Item {
    let times_ms: Vec<TimeMs> = (0..10).map(|n| from_ms + n * 1000).collect();
    let ids: Vec<u32> = (0..N_SERIES as u32).collect();
    let values: Vec<f64> =
        (0..N_SERIES).flat_map(|n| times_ms.iter().map(move |time_ms| sample(agent, n, *time_ms))).collect();
    let blob = encode_window([(&times_ms[..], &ids[..], &values[..])].into_iter());
    sealed(seq, from_ms, values.len() as u64, blob)
}

/// The sample that `item` puts at an instant into series `n` of an agent.
pub fn sample(agent: usize, n: usize, time_ms: TimeMs) -> f64 {
    value_of(n, time_ms) + agent as f64
}

/// An item around a blob.
pub fn sealed(seq: Seq, from_ms: TimeMs, n_samples: u64, blob: Vec<u8>) -> Item {
    Item { seq, from_ms, to_ms: from_ms + 10_000, n_samples, checksum: checksum(&blob), blob }
}

/// The window with this number of an agent that sampled without a pause.
pub fn window(agent: usize, seq: Seq) -> Item {
    item(agent, seq, START_MS + (seq as i64 - 1) * 10_000)
}

pub fn agent_id(agent: usize) -> String {
    format!("agent-{agent:04}")
}

/// A batch of an agent's metrics, complete in itself.
pub fn batch(agent: usize, items: impl IntoIterator<Item = Item>) -> Batch {
    let head = [Frame::Scope("day".into()), Frame::Definitions(definitions(N_SERIES))];
    let frames = head.into_iter().chain(items.into_iter().map(Frame::Item)).collect();
    Batch { agent_id: agent_id(agent), spool_id: "spool".into(), stream: Stream::Metrics, frames }
}

/// Numbers of an agent's metrics that are no more.
pub fn lost_batch(agent: usize, from: Seq, to: Seq) -> Batch {
    let at = |seq: Seq| START_MS + (seq as i64 - 1) * 10_000;
    let lost = Lost { from, to, from_ms: at(from), to_ms: at(to + 1), n_samples: 7, reason: "quota".into() };
    let frames = vec![Frame::Lost(lost)];
    Batch { agent_id: agent_id(agent), spool_id: "spool".into(), stream: Stream::Metrics, frames }
}

/// Appends and waits; everything of it is taken.
pub fn append(store: &HubStore, batch: Batch) -> Accepted {
    let accepted = store.append_and_wait(batch).unwrap().unwrap();
    assert_eq!(accepted.refused, []);
    accepted
}
