//! The board: the newest value of every series and the state of every collector, written by the
//! sampler and read by the pages.

use std::time::Duration;

use fieldpost_model::{Owner, SeriesId, Tick, TimeMs};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Values older than this many intervals are read anew before a page shows them.
const STALE_AFTER_INTERVALS: f64 = 1.5;
/// A value that has not been read anew is shown for this many of its intervals ...
const SHOWN_FOR_INTERVALS: u32 = 5;
/// ... but at least for this long; then it is absent rather than stale.
const SHOWN_AT_LEAST: Duration = Duration::from_secs(60);

/// What is known of one collector.
#[derive(Debug, Clone)]
pub struct CollectorState {
    /// Its name in the closed list.
    pub name: &'static str,
    /// Owner of its series.
    pub owner: Owner,
    /// How often it is due.
    pub interval: Duration,
    /// Is it slow by nature? Then it is not read out of turn.
    pub slow: bool,
    /// Instant of its last pass; 0 before the first.
    pub time_ms: TimeMs,
    /// How long the last pass took.
    pub took: Duration,
    /// What was wrong with the last pass; empty if nothing.
    pub error: String,
    /// Was it only that this machine has no such thing?
    pub no_data: bool,
    /// Since when it does not answer, if so.
    pub stuck_since_ms: Option<TimeMs>,
    /// Passes left out because the one before had not ended.
    pub overruns: u64,
    /// How many samples the last pass gave.
    pub n_samples: usize,
    /// How many ticks it has put on the board.
    pub n_ticks: u64,
    stamp: u32,
}

/// Is a pass at `read_ms` older than 1.5 intervals?
pub fn is_stale(interval: Duration, read_ms: TimeMs, now_ms: TimeMs) -> bool {
    now_ms.saturating_sub(read_ms) as f64 > STALE_AFTER_INTERVALS * interval.as_secs_f64() * 1_000.0
}

impl CollectorState {
    /// The state before the first pass.
    pub fn new(name: &'static str, owner: Owner, interval: Duration, slow: bool) -> Self {
        Self {
            name,
            owner,
            interval,
            slow,
            time_ms: 0,
            took: Duration::ZERO,
            error: String::new(),
            no_data: false,
            stuck_since_ms: None,
            overruns: 0,
            n_samples: 0,
            n_ticks: 0,
            stamp: 0,
        }
    }

    /// Is its last pass so old that a page must not show it before it was read anew? Never where
    /// reading out of turn would not help.
    pub fn is_stale(&self, now_ms: TimeMs) -> bool {
        !self.slow && self.stuck_since_ms.is_none() && is_stale(self.interval, self.time_ms, now_ms)
    }

    /// May its values still be shown at this instant?
    fn is_shown(&self, now_ms: TimeMs) -> bool {
        let limit = (self.interval * SHOWN_FOR_INTERVALS).max(SHOWN_AT_LEAST);
        self.stamp != 0 && now_ms - self.time_ms <= limit.as_millis() as i64
    }
}

#[derive(Default)]
struct Inner {
    values: Vec<f64>,
    stamps: Vec<u32>,
    collectors: Vec<CollectorState>,
    stamp: u32,
}

/// The newest values. One writer, many readers; either holds it for microseconds.
#[derive(Default)]
pub struct Board {
    inner: RwLock<Inner>,
    news: watch::Sender<u32>,
}

impl Board {
    /// Names the collectors that will write from now on. Of those that did before, what is known
    /// stays; the others are gone with their values.
    pub fn set_collectors(&self, mut collectors: Vec<CollectorState>) {
        let mut inner = self.inner.write();
        for state in &mut collectors {
            if let Some(known) = inner.collectors.iter().find(|known| known.owner == state.owner) {
                let (interval, slow) = (state.interval, state.slow);
                *state = CollectorState { interval, slow, ..known.clone() };
            }
        }
        inner.collectors = collectors;
    }

    /// Puts a collector's newest tick on the board, with what is known of the pass.
    pub fn publish(&self, tick: &Tick, update: impl FnOnce(&mut CollectorState)) {
        let mut inner = self.inner.write();
        inner.stamp = inner.stamp.wrapping_add(1).max(1);
        let stamp = inner.stamp;
        let Inner { values, stamps, collectors, .. } = &mut *inner;
        for sample in tick.samples() {
            let index = sample.id.index();
            if index >= values.len() {
                values.resize(index + 1, 0.0);
                stamps.resize(index + 1, 0);
            }
            values[index] = sample.value;
            stamps[index] = stamp;
        }
        if let Some(state) = collectors.iter_mut().find(|state| state.owner == tick.owner()) {
            state.stamp = stamp;
            state.time_ms = tick.time_ms();
            state.n_samples = tick.samples().len();
            state.n_ticks += 1;
            update(state);
        }
        drop(inner);
        // Without watchers this is one look at a number.
        if self.news.receiver_count() > 0 {
            self.news.send_replace(stamp);
        }
    }

    /// Changes what is known of a collector without new values.
    pub fn update(&self, owner: Owner, update: impl FnOnce(&mut CollectorState)) {
        let mut inner = self.inner.write();
        if let Some(state) = inner.collectors.iter_mut().find(|state| state.owner == owner) {
            update(state);
        }
    }

    /// Tells whoever holds it that there are new ticks; nothing of them waits for anybody.
    pub fn news(&self) -> watch::Receiver<u32> {
        self.news.subscribe()
    }

    /// A short look.
    pub fn read(&self) -> BoardView<'_> {
        BoardView { inner: self.inner.read() }
    }
}

/// A look at the board.
pub struct BoardView<'a> {
    inner: RwLockReadGuard<'a, Inner>,
}

impl BoardView<'_> {
    /// What is known of each collector that is on.
    pub fn collectors(&self) -> &[CollectorState] {
        &self.inner.collectors
    }

    /// When this owner's newest tick was taken; 0 if there is none.
    pub fn time_ms(&self, owner: Owner) -> TimeMs {
        let state = self.inner.collectors.iter().find(|state| state.owner == owner);
        state.map_or(0, |state| state.time_ms)
    }

    /// Changes with every tick that is published.
    pub fn version(&self) -> u32 {
        self.inner.stamp
    }

    /// Stamps of the ticks that may be shown, by owner; none where nothing may be shown.
    pub fn shown(&self, now_ms: TimeMs) -> Shown {
        let mut stamps = Vec::new();
        for state in &self.inner.collectors {
            let index = usize::from(state.owner.0);
            if index >= stamps.len() {
                stamps.resize(index + 1, 0);
            }
            stamps[index] = if state.is_shown(now_ms) { state.stamp } else { 0 };
        }
        Shown { stamps }
    }

    /// The value of a series, if its owner's newest tick has it and may be shown.
    #[inline]
    pub fn value(&self, shown: &Shown, owner: Owner, id: SeriesId) -> Option<f64> {
        let newest = *shown.stamps.get(usize::from(owner.0))?;
        let stamp = *self.inner.stamps.get(id.index())?;
        (stamp == newest && newest != 0).then(|| self.inner.values[id.index()])
    }
}

/// Which ticks may be shown at an instant; see `BoardView::shown`.
pub struct Shown {
    stamps: Vec<u32>,
}

impl Shown {
    /// Shows only some owners' values.
    pub fn retain(&mut self, keep: impl Fn(Owner) -> bool) {
        for (index, stamp) in self.stamps.iter_mut().enumerate() {
            if !keep(Owner(index as u16)) {
                *stamp = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Catalog;

    use super::*;

    #[test]
    fn series_left_out_of_the_newest_tick_is_not_shown() {
        let catalog = Catalog::new();
        let board = Board::default();
        board.set_collectors(vec![CollectorState::new("c", Owner(3), Duration::from_secs(1), false)]);
        let mut tick = Tick::new(catalog, Owner(3));
        let (a, b) = (tick.gauge("a", "A.", &[]), tick.gauge("b", "B.", &[]));
        let values = |now_ms| {
            let view = board.read();
            let shown = view.shown(now_ms);
            [a, b].map(|id| view.value(&shown, Owner(3), id))
        };
        tick.begin(1_000);
        tick.set(a, 1.0);
        tick.set(b, 2.0);
        board.publish(&tick, |_| {});
        assert_eq!(values(1_000), [Some(1.0), Some(2.0)]);
        tick.begin(2_000);
        tick.set(a, 3.0);
        board.publish(&tick, |_| {});
        assert_eq!(values(2_000), [Some(3.0), None]);
        assert_eq!(values(2_000 + 61_000), [None, None], "too old to be shown");
    }
}
