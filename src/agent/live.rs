//! The live lane: what each tick has changed, for whoever watches at this moment. A watcher keeps
//! what it has said last and looks at the board whenever it can; there is no queue, so one that
//! does not keep up passes ticks over and is told how many. Without watchers nothing is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fieldpost_link::{LiveSeries, LiveTick, LiveValue};
use fieldpost_model::{Catalog, Owner, Selector, Series, TimeMs};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Agent;
use super::board::{Board, BoardView};
use super::outbox::Bytesflow;

/// Watchers at a time: each hub has one, people at this host the others.
const N_WATCHERS_MAX: usize = 16;
/// Collectors of one instant follow each other closely; what comes within this goes together.
const GATHER: Duration = Duration::from_millis(50);
/// Even without new ticks it is looked this often: values that are too old go.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The places of those who watch.
pub struct Watchers(Arc<Semaphore>);

impl Default for Watchers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(N_WATCHERS_MAX)))
    }
}

impl Watchers {
    /// How many watch.
    pub fn n_watching(&self) -> usize {
        N_WATCHERS_MAX - self.0.available_permits()
    }

    /// The ticks of this agent from now on, as lines, without an end: of all series, or of those
    /// that the selector accepts. None if too many watch already.
    pub fn watch(&self, agent: Arc<Agent>, selector: Selector) -> Option<Bytesflow> {
        let place = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let mut news = agent.board.news();
        // What is there already is news to a new watcher.
        news.mark_changed();
        let start = Watcher { agent, news, teller: Teller::new(selector), _place: place };
        Some(Box::pin(stream::try_unfold(start, |mut watcher| async move {
            let lines = watcher.next().await?;
            Ok(Some((lines, watcher)))
        })))
    }
}

/// One who watches.
struct Watcher {
    agent: Arc<Agent>,
    news: watch::Receiver<u32>,
    teller: Teller,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Ok(told) = tokio::time::timeout(LOOK_EVERY, self.news.changed()).await {
                told.context("the agent has ended")?;
                tokio::time::sleep(GATHER).await;
                self.news.mark_unchanged();
            }
            let mut lines = Vec::new();
            let agent = &self.agent;
            for tick in self.teller.look_at(&agent.catalog, &agent.board, agent.clock.wall_ms()) {
                tick.write_line(&mut lines).context("a tick cannot be written")?;
            }
            if !lines.is_empty() {
                return Ok(lines.into());
            }
        }
    }
}

/// What was said of the series that has this place.
#[derive(Clone, Copy)]
struct Said {
    /// Which series that was.
    serial: u64,
    /// Its number; none: it is not asked for.
    number: Option<u32>,
    value: LiveValue,
    /// Had it a value?
    shown: bool,
    /// The look at which it was last seen.
    look: u64,
}

/// Says what has changed since it last said something.
struct Teller {
    selector: Selector,
    said: Vec<Option<Said>>,
    n_numbers: u32,
    n_looks: u64,
    /// Ticks of each collector, by owner, as of the last look.
    n_ticks: BTreeMap<Owner, u64>,
}

impl Teller {
    fn new(selector: Selector) -> Self {
        Self { selector, said: Vec::new(), n_numbers: 0, n_looks: 0, n_ticks: BTreeMap::new() }
    }

    /// A tick for each instant of which there is something new, in their order.
    fn look_at(&mut self, catalog: &Catalog, board: &Board, now_ms: TimeMs) -> Vec<LiveTick> {
        let (catalog, board) = (catalog.read(), board.read());
        self.n_looks += 1;
        let mut news = self.begin(&board);
        self.said.resize(catalog.capacity().max(self.said.len()), None);
        let shown = board.shown(now_ms);
        for (id, series) in catalog.iter() {
            if let Some(value) = board.value(&shown, series.owner, id) {
                self.say(id.index(), series, LiveValue(value), &mut news);
            }
        }
        for said in self.said.iter_mut().flatten() {
            if said.look != self.n_looks && said.shown {
                said.shown = false;
                news.gone.extend(said.number);
            }
        }
        news.into_ticks(now_ms)
    }

    /// What has ticked anew.
    fn begin(&mut self, board: &BoardView<'_>) -> News {
        let mut news = News::default();
        for state in board.collectors() {
            news.times.insert(state.owner, state.time_ms);
            let before = self.n_ticks.insert(state.owner, state.n_ticks);
            if before != Some(state.n_ticks) && state.n_ticks > 0 {
                let new = before.map_or(1, |before| state.n_ticks.saturating_sub(before));
                news.tick(state.owner).skipped += new.saturating_sub(1);
            }
        }
        news
    }

    fn say(&mut self, place: usize, series: &Series, value: LiveValue, news: &mut News) {
        let look = self.n_looks;
        let known = self.said[place].filter(|said| said.serial == series.serial);
        let said = known.unwrap_or_else(|| {
            // Another series had this place.
            news.gone.extend(self.said[place].filter(|said| said.shown).and_then(|said| said.number));
            let number = self.number(series, news);
            Said { serial: series.serial, number, value, shown: false, look }
        });
        if let Some(number) = said.number
            && (!said.shown || said.value != value)
        {
            news.tick(series.owner).values.push((number, value));
        }
        self.said[place] = Some(Said { value, shown: true, look, ..said });
    }

    /// Describes a series that is asked for, and gives it a number.
    fn number(&mut self, series: &Series, news: &mut News) -> Option<u32> {
        let label = |name: &str| series.labels.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value);
        if !self.selector.accepts(&series.name(), label) {
            return None;
        }
        self.n_numbers += 1;
        let labels = series.labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        news.tick(series.owner).series.push(LiveSeries {
            n: self.n_numbers,
            name: series.name(),
            labels: labels.collect(),
            kind: series.family.kind,
        });
        Some(self.n_numbers)
    }
}

/// What one look brought to light.
#[derive(Default)]
struct News {
    ticks: BTreeMap<TimeMs, LiveTick>,
    /// The newest tick of each collector.
    times: BTreeMap<Owner, TimeMs>,
    gone: Vec<u32>,
}

impl News {
    /// The tick of the instant at which this collector ticked last.
    fn tick(&mut self, owner: Owner) -> &mut LiveTick {
        let time_ms = self.times.get(&owner).copied().unwrap_or_default();
        self.at(time_ms)
    }

    fn at(&mut self, time_ms: TimeMs) -> &mut LiveTick {
        self.ticks.entry(time_ms).or_insert_with(|| LiveTick { time_ms, ..LiveTick::default() })
    }

    fn into_ticks(mut self, now_ms: TimeMs) -> Vec<LiveTick> {
        if !self.gone.is_empty() {
            let last = self.ticks.keys().next_back().copied().unwrap_or(now_ms);
            self.at(last).gone = std::mem::take(&mut self.gone);
        }
        self.ticks.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Tick;

    use super::*;
    use crate::agent::board::CollectorState;

    /// A board with one collector of two series, and who tells of it.
    struct Stage {
        catalog: Arc<Catalog>,
        board: Board,
        tick: Tick,
        teller: Teller,
    }

    impl Stage {
        fn new(selector: Selector) -> Self {
            let (catalog, board) = (Catalog::new(), Board::default());
            board.set_collectors(vec![CollectorState::new("c", Owner(3), Duration::from_secs(1), false)]);
            let tick = Tick::new(Arc::clone(&catalog), Owner(3));
            Self { catalog, board, tick, teller: Teller::new(selector) }
        }

        fn publish(&mut self, time_ms: TimeMs, values: &[(&str, f64)]) {
            self.tick.begin(time_ms);
            for (name, value) in values {
                let id = self.tick.gauge(name, "Help.", &[]);
                self.tick.set(id, *value);
            }
            self.board.publish(&self.tick, |_| {});
        }

        fn look(&mut self, now_ms: TimeMs) -> Vec<LiveTick> {
            self.teller.look_at(&self.catalog, &self.board, now_ms)
        }
    }

    #[test]
    fn only_what_changed_is_said_and_a_series_is_described_once() {
        let mut stage = Stage::new(Selector::default());
        stage.publish(1_000, &[("a", 1.0), ("b", 2.0)]);
        let first = stage.look(1_000);
        let names: Vec<_> = first[0].series.iter().map(|series| (series.n, series.name.as_str())).collect();
        assert_eq!((first.len(), first[0].time_ms, names), (1, 1_000, vec![(1, "a"), (2, "b")]));
        assert_eq!(first[0].values, [(1, LiveValue(1.0)), (2, LiveValue(2.0))]);
        assert!(stage.look(1_000).is_empty());
        stage.publish(2_000, &[("a", 1.0), ("b", 3.0)]);
        let expected = LiveTick { time_ms: 2_000, values: vec![(2, LiveValue(3.0))], ..LiveTick::default() };
        assert_eq!(stage.look(2_000), [expected]);
    }

    #[test]
    fn reader_that_looks_seldom_is_told_what_it_missed_and_has_the_newest() {
        let mut stage = Stage::new(Selector::parse("a").unwrap());
        for (time_ms, value) in [(1_000, 1.0), (2_000, 2.0), (3_000, 3.0), (4_000, 4.0)] {
            stage.publish(time_ms, &[("a", value), ("b", value)]);
            if time_ms == 1_000 {
                stage.look(1_000);
            }
        }
        let ticks = stage.look(4_000);
        let expected =
            LiveTick { time_ms: 4_000, skipped: 2, values: vec![(1, LiveValue(4.0))], ..LiveTick::default() };
        assert_eq!(ticks, [expected]);
    }

    #[test]
    fn series_that_goes_is_said_to_be_gone_once_and_comes_back_under_its_number() {
        let mut stage = Stage::new(Selector::default());
        stage.publish(1_000, &[("a", 1.0), ("b", 2.0)]);
        stage.look(1_000);
        stage.publish(2_000, &[("a", 1.0)]);
        assert_eq!(stage.look(2_000)[0].gone, [2]);
        stage.publish(3_000, &[("a", 1.0), ("b", 2.0)]);
        let back = stage.look(3_000);
        assert_eq!((back[0].series.len(), &back[0].values[..]), (0, &[(2, LiveValue(2.0))][..]));
        assert_eq!(stage.look(90_000)[0].gone, [1, 2], "too old to be shown");
    }
}
