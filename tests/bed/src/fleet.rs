//! Hosts that are made up: thousands of agents with the same series but for one, and their windows,
//! as real ones seal them. What costs a hub something is real; what the samples say is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fieldpost_model::hub_record::{Answer, Batch, NotTaken, RecordWriter};
use fieldpost_model::{Family, Frame, Item, Kind, Stream, TimeMs};
use fieldpost_store::codec::{checksum, encode_window};
use fieldpost_store::hub::HubStore;
use fieldpost_store::record::{Definition, encode_definitions};

/// The scope of all ids of a fleet.
pub const SCOPE: &str = "day";
/// The spool of each of its agents.
pub const SPOOL: &str = "spool";
/// Series of a family.
const N_FAMILY: usize = 20;
/// Pause while a store has no room.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// What agents there are. Every window of theirs has `TICKS` ticks.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// How many.
    pub n_agents: usize,
    /// Series of each.
    pub n_series: usize,
    /// From one sample to the next, milliseconds.
    pub tick_ms: i64,
    /// First instant of the first window.
    pub start_ms: TimeMs,
}

impl Fleet {
    /// Ticks of a window.
    pub const TICKS: i64 = 10;
    /// A few different hosts stand for all: agents differ, but not in what they cost.
    pub const N_KINDS: usize = 8;

    /// The id of an agent.
    pub fn agent_id(agent: usize) -> String {
        format!("{agent:032x}")
    }

    /// Its name.
    pub fn agent_name(agent: usize) -> String {
        format!("agent-{agent:05}")
    }

    /// Span of a window, milliseconds.
    pub fn span_ms(&self) -> i64 {
        Self::TICKS * self.tick_ms
    }

    /// Samples of so many windows of all agents.
    pub fn n_samples(&self, n_windows: usize) -> f64 {
        (self.n_agents * self.n_series) as f64 * (n_windows as i64 * Self::TICKS) as f64
    }

    /// The instants of a window; the first one is 0.
    pub fn times_ms(&self, window: usize) -> Vec<TimeMs> {
        let from_ms = self.start_ms + window as i64 * self.span_ms();
        (0..Self::TICKS).map(|tick| from_ms + tick * self.tick_ms).collect()
    }

    /// Name and labels of a series: the same for all agents, but for the last one.
    pub fn series(&self, agent: usize, series: usize) -> (String, [(&'static str, String); 2]) {
        let last = series + 1 == self.n_series;
        let device = if last { format!("veth{agent}") } else { format!("device{}", series % N_FAMILY) };
        let name = format!("node_family_{}_total", series / N_FAMILY);
        (name, [("device", device), ("mode", "read".to_owned())])
    }

    /// A third of the series stands still, a third counts steadily, a third wobbles.
    pub fn value(&self, agent: usize, series: usize, time_ms: TimeMs) -> f64 {
        let (kind, second) = ((agent % Self::N_KINDS) as i64, time_ms / 1_000);
        match series % 3 {
            0 => series as f64 * 100.0,
            1 => (second * (series as i64 + kind)) as f64,
            _ => ((second * 7_919 + series as i64 * 31 + kind) % 10_007) as f64 * 4_096.0,
        }
    }

    /// What an agent says of its series.
    pub fn definitions(&self, agent: usize) -> Vec<Frame> {
        let one = |n: usize| {
            let (name, labels) = self.series(agent, n);
            let help = "A number of the host, as its kernel counts it.".into();
            let family = Family { name: name.into(), help, kind: Kind::Counter };
            let labels = labels.map(|(name, value)| (name.to_owned(), value)).to_vec();
            Definition { id: n as u32, family, suffix: String::new(), labels }
        };
        let all: Vec<Definition> = (0..self.n_series).map(one).collect();
        let (mut frames, mut n_done) = (vec![Frame::Scope(SCOPE.to_owned())], 0);
        while n_done < all.len() {
            let (blob, n) = encode_definitions(&all[n_done..]);
            frames.push(Frame::Definitions(blob));
            n_done += n;
        }
        frames
    }

    /// A window of an agent, the first one is 0; agents of one kind have the same.
    pub fn window(&self, agent: usize, window: usize) -> Item {
        let times_ms = self.times_ms(window);
        let ids: Vec<u32> = (0..self.n_series as u32).collect();
        let column = |series| times_ms.iter().map(move |time_ms| self.value(agent, series, *time_ms));
        let values: Vec<f64> = (0..self.n_series).flat_map(column).collect();
        let blob = encode_window([(&times_ms[..], &ids[..], &values[..])].into_iter());
        let from_ms = times_ms.first().copied().unwrap_or(self.start_ms);
        Item {
            seq: window as u64 + 1,
            from_ms,
            to_ms: from_ms + self.span_ms(),
            n_samples: values.len() as u64,
            checksum: checksum(&blob),
            blob,
        }
    }

    /// So many windows of each kind of agents.
    pub fn windows(&self, n_windows: usize) -> Vec<Vec<Item>> {
        (0..Self::N_KINDS).map(|kind| (0..n_windows).map(|n| self.window(kind, n)).collect()).collect()
    }

    /// Brings these windows of all agents to a store, each window of all agents before the next one,
    /// and waits until they are on the disk.
    pub fn fill(&self, store: &HubStore, windows: &[Vec<Item>]) -> anyhow::Result<()> {
        let n_waiting = Arc::new(AtomicUsize::new(0));
        let n_windows = windows.first().map_or(0, Vec::len);
        for (n, agent) in (0..n_windows).flat_map(|n| (0..self.n_agents).map(move |agent| (n, agent))) {
            let mut frames =
                if n == 0 { self.definitions(agent) } else { vec![Frame::Scope(SCOPE.to_owned())] };
            frames.push(Frame::Item(windows[agent % Self::N_KINDS][n].clone()));
            append(store, batch(agent, frames), &n_waiting)?;
        }
        while n_waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(FULL_PAUSE);
        }
        Ok(())
    }
}

fn batch(agent: usize, frames: Vec<Frame>) -> Batch {
    let agent_id = Fleet::agent_id(agent);
    Batch { agent_id, spool_id: SPOOL.to_owned(), stream: Stream::Metrics, frames }
}

/// Brings a batch again and again until there is room for it.
fn append(store: &HubStore, mut batch: Batch, n_waiting: &Arc<AtomicUsize>) -> anyhow::Result<()> {
    n_waiting.fetch_add(1, Ordering::Relaxed);
    loop {
        let n_waiting = Arc::clone(n_waiting);
        let done = move |answer: Answer| {
            assert!(answer.is_ok_and(|accepted| accepted.n_refused == 0), "something was refused");
            n_waiting.fetch_sub(1, Ordering::Relaxed);
        };
        match store.append(batch, Box::new(done)) {
            Ok(()) => return Ok(()),
            Err(NotTaken::Full(back)) => batch = back,
            Err(other) => anyhow::bail!("the store takes nothing: {other:?}"),
        }
        std::thread::sleep(FULL_PAUSE);
    }
}
