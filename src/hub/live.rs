//! The live lane at the hub: the newest ticks of every agent that somebody watches, in memory
//! only. All who watch an agent share one subscription to it, which ends some seconds after the
//! last has left. A watcher reads from the shared ring at its own pace; one that falls behind is
//! given everything anew and told so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fieldpost_link::{LiveReader, LiveSeries, LiveTick, LiveValue};
use fieldpost_model::{Event, EventKind, Frame, Stream};
use fieldpost_store::record::{Note, decode_note};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Hub;

/// Ticks kept of each watched agent.
const N_TICKS_KEPT: usize = 60;
/// Events kept of it, for watchers that are held up.
const N_EVENTS_KEPT: usize = 60;
/// A subscription goes on for this long after the last watcher has left: a page that is loaded
/// anew finds it again.
const LINGER: Duration = Duration::from_secs(5);
/// How often it is looked whether anybody watches still, and whether a link has come up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time from one tick of an agent to the next at least: of collectors, and of instants, there are few.
const PACE: Duration = Duration::from_millis(5);
/// Bytes of names and labels that an agent may describe in one subscription.
const DESCRIBED_BYTES_MAX: usize = 32 << 20;
/// An agent that says nothing for this long is asked anew.
const SILENCE: Duration = Duration::from_secs(30);

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum LiveNews {
    /// Forget what you know of the agent: this is all of it, and `skipped` ticks were passed over.
    Whole(LiveTick),
    /// What changed.
    Tick(Arc<LiveTick>),
    /// Something happened to the agent.
    Event(Arc<Event>),
    /// The link to the agent is up, and ticks follow; or there is none.
    Link {
        /// Is it up?
        up: bool,
    },
}

/// The newest of a watched agent.
struct Ring {
    /// All series as they were before the first tick of the ring.
    base: State,
    ticks: VecDeque<Arc<LiveTick>>,
    /// Number of the first tick of the ring; grows for ever.
    first: u64,
    /// Changes with every subscription: numbers of series begin anew.
    turn: u64,
    up: bool,
    /// The newest events, and the number of the first of them.
    events: VecDeque<Arc<Event>>,
    first_event: u64,
}

/// All series of an agent, with their newest values.
#[derive(Debug, Clone, Default)]
struct State {
    time_ms: i64,
    series: BTreeMap<u32, (LiveSeries, Option<LiveValue>)>,
}

impl State {
    fn apply(&mut self, tick: &LiveTick) {
        self.time_ms = tick.time_ms;
        for series in &tick.series {
            self.series.insert(series.n, (series.clone(), None));
        }
        for (n, value) in &tick.values {
            if let Some((_, newest)) = self.series.get_mut(n) {
                *newest = Some(*value);
            }
        }
        for n in &tick.gone {
            if let Some((_, newest)) = self.series.get_mut(n) {
                *newest = None;
            }
        }
    }

    /// As one tick that says everything.
    fn whole(&self, skipped: u64) -> LiveTick {
        let series = self.series.values().map(|(series, _)| series.clone());
        let values = self.series.iter().filter_map(|(n, (_, value))| Some((*n, (*value)?)));
        LiveTick {
            time_ms: self.time_ms,
            skipped,
            series: series.collect(),
            values: values.collect(),
            gone: Vec::new(),
        }
    }
}

impl Ring {
    fn new() -> Self {
        Self {
            base: State::default(),
            ticks: VecDeque::new(),
            first: 0,
            turn: 0,
            up: false,
            events: VecDeque::new(),
            first_event: 0,
        }
    }

    fn end_of_events(&self) -> u64 {
        self.first_event + self.events.len() as u64
    }

    fn push_event(&mut self, event: Event) {
        self.events.push_back(Arc::new(event));
        if self.events.len() > N_EVENTS_KEPT {
            self.events.pop_front();
            self.first_event += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + self.ticks.len() as u64
    }

    fn push(&mut self, tick: LiveTick) {
        self.ticks.push_back(Arc::new(tick));
        while self.ticks.len() > N_TICKS_KEPT {
            if let Some(oldest) = self.ticks.pop_front() {
                self.base.apply(&oldest);
                self.first += 1;
            }
        }
    }

    /// A new subscription begins: what was said before means nothing any more.
    fn begin(&mut self) {
        self.first = self.end();
        self.ticks.clear();
        self.base = State::default();
        self.turn += 1;
        self.up = true;
    }

    /// The newest of everything.
    fn now(&self) -> State {
        let mut state = self.base.clone();
        self.ticks.iter().for_each(|tick| state.apply(tick));
        state
    }
}

/// One watched agent.
struct Feed {
    ring: Mutex<Ring>,
    /// Told after each change of the ring; its receivers are the watchers.
    told: watch::Sender<()>,
}

/// All watched agents.
#[derive(Default)]
pub struct Live {
    feeds: Mutex<HashMap<String, Arc<Feed>>>,
    end: CancellationToken,
}

/// The last minute of a watched agent.
pub(super) struct Recent {
    base: State,
    ticks: Vec<Arc<LiveTick>>,
}

impl Recent {
    /// Series with what they had at instants from the first to the last one, both included. Only
    /// what has changed was said, so that there are fewer samples than were taken, and no others.
    pub(super) fn series(mut self, from_ms: i64, to_ms: i64) -> Vec<(LiveSeries, Vec<(i64, f64)>)> {
        let mut samples: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
        for tick in &self.ticks {
            self.base.apply(tick);
            if (from_ms..=to_ms).contains(&tick.time_ms) {
                for (n, value) in &tick.values {
                    samples.entry(*n).or_default().push((tick.time_ms, value.0));
                }
            }
        }
        let mut series = self.base.series;
        let described = samples.into_iter();
        described.filter_map(|(n, samples)| Some((series.remove(&n)?.0, samples))).collect()
    }
}

impl Live {
    /// What is kept of every watched agent whose link is up, by its id.
    pub(super) fn recent(&self) -> Vec<(String, Recent)> {
        let feeds: Vec<(String, Arc<Feed>)> =
            self.feeds.lock().iter().map(|(id, feed)| (id.clone(), Arc::clone(feed))).collect();
        let recent = |feed: &Feed| {
            let ring = feed.ring.lock();
            ring.up.then(|| Recent { base: ring.base.clone(), ticks: ring.ticks.iter().cloned().collect() })
        };
        feeds.into_iter().filter_map(|(id, feed)| Some((id, recent(&feed)?))).collect()
    }

    /// The newest tick of a watched agent, if there is one.
    pub(super) fn newest_ms(&self, agent_id: &str) -> Option<i64> {
        let feed = self.feeds.lock().get(agent_id).cloned()?;
        let ring = feed.ring.lock();
        ring.ticks.back().map(|tick| tick.time_ms)
    }

    /// Ends all subscriptions, and with them what watchers read.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Something new of an agent's record: its events go to whoever watches it.
    pub(super) fn heard(&self, agent_id: &str, stream: Stream, frame: &Frame) {
        let (Stream::Events, Frame::Item(item)) = (stream, frame) else { return };
        let Some(feed) = self.feeds.lock().get(agent_id).cloned() else { return };
        // What cannot be read is refused where it is stored.
        let event = match decode_note(&item.blob) {
            Ok(Some(Note::Event(event))) => event,
            Ok(Some(Note::Gap(gap))) => Event {
                time_ms: gap.from_ms,
                kind: EventKind::Gap,
                subject: String::new(),
                text: format!("samples are missing until {}", gap.to_ms),
            },
            _ => return,
        };
        feed.ring.lock().push_event(event);
        feed.told.send_replace(());
    }
}

impl Hub {
    /// Watches an agent, whether its link is up or not. Runs within the runtime.
    pub fn watch_agent(self: &Arc<Self>, agent_id: &str) -> LiveWatcher {
        let mut feeds = self.live.feeds.lock();
        let feed = feeds.entry(agent_id.to_owned()).or_insert_with(|| {
            let feed = Arc::new(Feed { ring: Mutex::new(Ring::new()), told: watch::Sender::new(()) });
            tokio::spawn(feed_until_left(Arc::clone(self), agent_id.to_owned(), Arc::clone(&feed)));
            feed
        });
        // Under the lock: a feed that is about to end sees this watcher, or is in the map no more.
        let told = feed.told.subscribe();
        let next_event = feed.ring.lock().end_of_events();
        LiveWatcher {
            feed: Arc::clone(feed),
            told,
            end: self.live.end.clone(),
            next: 0,
            turn: None,
            up: None,
            next_event,
        }
    }
}

/// One who watches an agent.
pub struct LiveWatcher {
    feed: Arc<Feed>,
    told: watch::Receiver<()>,
    end: CancellationToken,
    next: u64,
    /// Which subscription it has been told of.
    turn: Option<u64>,
    up: Option<bool>,
    next_event: u64,
}

impl LiveWatcher {
    /// What is new, as soon as there is something; none at the end of the hub. May be dropped
    /// while it waits.
    pub async fn next(&mut self) -> Option<Vec<LiveNews>> {
        loop {
            self.told.mark_unchanged();
            let news = self.look();
            if !news.is_empty() {
                return Some(news);
            }
            tokio::select! {
                told = self.told.changed() => told.ok()?,
                () = self.end.cancelled() => return None,
            }
        }
    }

    fn look(&mut self) -> Vec<LiveNews> {
        let ring = self.feed.ring.lock();
        let mut news = Vec::new();
        if self.up != Some(ring.up) {
            self.up = Some(ring.up);
            news.push(LiveNews::Link { up: ring.up });
        }
        let skip = self.next_event.saturating_sub(ring.first_event) as usize;
        news.extend(ring.events.iter().skip(skip).map(|event| LiveNews::Event(Arc::clone(event))));
        self.next_event = ring.end_of_events();
        let is_new = self.turn != Some(ring.turn);
        if ring.ticks.is_empty() || (!is_new && self.next >= ring.end()) {
            return news;
        }
        if is_new {
            // With what is kept of the last minute.
            news.push(LiveNews::Whole(ring.base.whole(0)));
            self.next = ring.first;
            self.turn = Some(ring.turn);
        } else if self.next < ring.first {
            news.push(LiveNews::Whole(ring.now().whole(ring.end() - self.next)));
            self.next = ring.end();
        }
        let skip = (self.next - ring.first) as usize;
        news.extend(ring.ticks.iter().skip(skip).map(|tick| LiveNews::Tick(Arc::clone(tick))));
        self.next = ring.end();
        news
    }
}

/// Subscribes to an agent, again and again, until nobody has watched for a while.
async fn feed_until_left(hub: Arc<Hub>, agent_id: String, feed: Arc<Feed>) {
    tokio::select! {
        () = hub.live.end.cancelled() => {}
        () = left(&hub, &agent_id, &feed) => return,
        () = feed_for_ever(&hub, &agent_id, &feed) => {}
    }
    hub.live.feeds.lock().remove(&agent_id);
}

/// Returns once the feed was taken out because nobody watches it.
async fn left(hub: &Hub, agent_id: &str, feed: &Feed) {
    let mut watched = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if feed.told.receiver_count() > 0 {
            watched = Instant::now();
        } else if watched.elapsed() >= LINGER {
            let mut feeds = hub.live.feeds.lock();
            if feed.told.receiver_count() == 0 {
                feeds.remove(agent_id);
                return;
            }
        }
    }
}

async fn feed_for_ever(hub: &Hub, agent_id: &str, feed: &Feed) {
    loop {
        if let Err(error) = draw(hub, agent_id, feed).await {
            tracing::debug!(agent_id, error = format!("{error:#}"), "the live lane of this agent ended");
        }
        let was_up = std::mem::replace(&mut feed.ring.lock().up, false);
        if was_up {
            feed.told.send_replace(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes ticks until the link or the answer ends.
async fn draw(hub: &Hub, agent_id: &str, feed: &Feed) -> anyhow::Result<()> {
    let link = hub.links.get(agent_id).context("there is no link")?;
    let asked = tokio::time::timeout(SILENCE, link.get("/v1/live")).await;
    let answer = asked.context("the agent does not answer")??;
    ensure!(answer.status().is_success(), "the agent answers {}", answer.status());
    let mut ticks = LiveReader::new(answer.into_body());
    let mut bounds = Bounds { n_series_max: hub.options.live_series_max, n_series: 0, n_bytes: 0 };
    feed.ring.lock().begin();
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(SILENCE, ticks.next()) => next,
            () = link.cancel.cancelled() => bail!("the link was ended"),
        };
        let Some(tick) = next.context("the agent has gone silent")?? else { bail!("the agent ended it") };
        bounds.admit(&tick)?;
        link.heard(hub.now_ms());
        feed.ring.lock().push(tick);
        feed.told.send_replace(());
        // An agent that says more than this has to wait, and passes ticks over.
        tokio::time::sleep(PACE).await;
    }
}

/// What an agent says of itself must not fill the hub's memory: how much it has described in this
/// subscription.
struct Bounds {
    n_series_max: usize,
    n_series: usize,
    n_bytes: usize,
}

impl Bounds {
    fn admit(&mut self, tick: &LiveTick) -> anyhow::Result<()> {
        let of_labels = |series: &LiveSeries| -> usize {
            series.labels.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        let n_bytes: usize = tick.series.iter().map(|series| series.name.len() + of_labels(series)).sum();
        self.n_series += tick.series.len();
        self.n_bytes += n_bytes;
        ensure!(self.n_series <= self.n_series_max, "it describes more than {} series", self.n_series_max);
        ensure!(self.n_bytes <= DESCRIBED_BYTES_MAX, "its series have too much text");
        let longest = tick.values.len().max(tick.gone.len());
        ensure!(longest <= self.n_series, "a tick has more values than there are series");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Kind;

    use super::*;

    fn described(time_ms: i64) -> LiveTick {
        let series = LiveSeries { n: 1, name: "a".into(), labels: Vec::new(), kind: Kind::Gauge };
        LiveTick { time_ms, series: vec![series], values: vec![(1, LiveValue(0.0))], ..LiveTick::default() }
    }

    fn changed(time_ms: i64) -> LiveTick {
        LiveTick { time_ms, values: vec![(1, LiveValue(time_ms as f64))], ..LiveTick::default() }
    }

    fn watcher(feed: &Arc<Feed>) -> LiveWatcher {
        let (told, end) = (feed.told.subscribe(), CancellationToken::new());
        LiveWatcher { feed: Arc::clone(feed), told, end, next: 0, turn: None, up: None, next_event: 0 }
    }

    fn feed() -> Arc<Feed> {
        let feed = Feed { ring: Mutex::new(Ring::new()), told: watch::Sender::new(()) };
        feed.ring.lock().begin();
        Arc::new(feed)
    }

    /// What a watcher knows after what it was told.
    fn known(state: &mut State, news: &[LiveNews]) {
        for news in news {
            match news {
                LiveNews::Whole(tick) => {
                    *state = State::default();
                    state.apply(tick);
                }
                LiveNews::Tick(tick) => state.apply(tick),
                LiveNews::Event(_) | LiveNews::Link { .. } => {}
            }
        }
    }

    #[test]
    fn last_minute_has_the_samples_that_were_said_and_no_others() {
        let feed = feed();
        feed.ring.lock().push(described(0));
        (1..=100).for_each(|time_ms| feed.ring.lock().push(changed(time_ms)));
        let live = Live::default();
        live.feeds.lock().insert("a".into(), feed);
        let (_, recent) = live.recent().remove(0);
        let [(series, samples)] = &recent.series(90, 95)[..] else { panic!() };
        assert_eq!(series.name, "a");
        let expected: Vec<(i64, f64)> = (90..=95).map(|time_ms| (time_ms, time_ms as f64)).collect();
        assert_eq!(*samples, expected);
        assert_eq!(live.newest_ms("a"), Some(100));
    }

    #[test]
    fn late_watcher_gets_the_kept_ticks_and_knows_what_an_early_one_knows() {
        let feed = feed();
        let (mut early, mut state) = (watcher(&feed), State::default());
        feed.ring.lock().push(described(0));
        for time_ms in 1..200 {
            known(&mut state, &early.look());
            feed.ring.lock().push(changed(time_ms));
        }
        known(&mut state, &early.look());
        let (news, mut late) = (watcher(&feed).look(), State::default());
        assert_eq!(news.len(), 2 + N_TICKS_KEPT);
        known(&mut late, &news);
        assert_eq!(late.series, state.series);
        assert_eq!(late.series[&1].1, Some(LiveValue(199.0)));
    }

    #[test]
    fn watcher_that_falls_behind_is_told_how_far_and_has_the_newest() {
        let feed = feed();
        let (mut slow, mut state) = (watcher(&feed), State::default());
        feed.ring.lock().push(described(0));
        known(&mut state, &slow.look());
        (1..=100).for_each(|time_ms| feed.ring.lock().push(changed(time_ms)));
        let news = slow.look();
        assert!(matches!(&news[..], [LiveNews::Whole(tick)] if tick.skipped == 100), "{news:?}");
        known(&mut state, &news);
        assert_eq!(state.series[&1].1, Some(LiveValue(100.0)));
        assert!(slow.look().is_empty());
    }

    #[test]
    fn agent_that_says_too_much_of_itself_is_cut_off() {
        let bounds = || Bounds { n_series_max: 2, n_series: 0, n_bytes: 0 };
        let mut counted = bounds();
        counted.admit(&described(0)).unwrap();
        counted.admit(&changed(1)).unwrap();
        counted.admit(&described(2)).unwrap();
        assert!(counted.admit(&described(3)).is_err());
        assert!(bounds().admit(&changed(0)).is_err(), "values of nothing");
        let mut long = described(0);
        long.series[0].labels.push(("a".into(), "x".repeat(DESCRIBED_BYTES_MAX)));
        assert!(bounds().admit(&long).is_err());
    }

    #[test]
    fn new_subscription_is_told_as_a_whole() {
        let feed = feed();
        let mut watcher = watcher(&feed);
        feed.ring.lock().push(described(0));
        watcher.look();
        feed.ring.lock().begin();
        feed.ring.lock().push(described(5));
        assert!(matches!(&watcher.look()[..], [LiveNews::Whole(_), LiveNews::Tick(_)]));
    }
}
