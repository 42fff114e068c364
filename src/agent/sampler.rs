//! The sampler: one thread that runs every collector when it is due, aligned to the wall clock,
//! publishes what they give and seals windows for the store. It never waits for a collector that
//! runs apart, for a reader or for the disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use fieldpost_collectors::{Config, Entry, Pass, Place, Unit, build_all};
use fieldpost_model::{Catalog, Event, EventKind, Owner, TableKind, TimeMs, Window, format_span};
use fieldpost_store::Store;
use parking_lot::Mutex;

use super::apart::Pool;
use super::board::{Board, CollectorState, is_stale};
use super::clock::{Clock, ClockWatch, Disturbance};
use super::handle::SamplerStats;
use super::history::HistoryFeed;
use super::processes::ProcessTable;
use super::window::OpenWindow;

/// Commands that may wait for the sampler; a page or a signal sends one at a time.
const INBOX_LENGTH: usize = 64;
/// After this long into a tick, passes that still wait behind others get another thread.
const RELIEF_AFTER: Duration = Duration::from_millis(50);
/// A collector that has not answered for this long (and for three of its intervals) is stuck.
const STUCK_AFTER_MS: i64 = 5_000;
/// The longest sleep. The wall clock may be set back while the sampler sleeps, and whoever watches
/// it must see that it is alive though its ticks are minutes apart.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What can be changed while the sampler runs.
#[derive(Clone)]
pub struct SamplerOptions {
    /// The base interval.
    pub interval: Duration,
    /// Length of a window.
    pub window: Duration,
    /// How often whole tables are kept; zero: never.
    pub history: Duration,
    /// The collectors' settings.
    pub collectors: Arc<Config>,
}

/// What the sampler is told.
pub(super) enum Message {
    /// Passes that ran apart have ended.
    PassesDone,
    /// Read anew what is older than it should be, then answer.
    Refresh(SyncSender<()>),
    /// Answer with what is not sealed yet.
    Peek(SyncSender<Option<Window>>),
    /// Go on with other settings, then answer.
    Apply(Box<SamplerOptions>, SyncSender<()>),
    /// Seal what is open and end.
    Stop,
}

/// What a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    End,
}

/// What the sampler shares with the rest of the agent.
#[derive(Clone)]
pub(super) struct Shared {
    pub catalog: Arc<Catalog>,
    pub board: Arc<Board>,
    pub processes: Arc<Mutex<ProcessTable>>,
    pub stats: Arc<SamplerStats>,
    pub store: Arc<Store>,
}

/// A unit whose pass is under way in the pool.
struct Away {
    owner: Owner,
    generation: u64,
    entry: &'static Entry,
    interval_ms: i64,
    since_ms: TimeMs,
    /// The same by a clock that nobody sets.
    since: Duration,
    /// Instant of its last pass that was begun or left out.
    due_ms: TimeMs,
    stored: bool,
    stored_ms: TimeMs,
    stuck: bool,
}

/// A unit at rest.
struct Resting {
    unit: Unit,
    /// Instant of its last tick that went into a window.
    stored_ms: TimeMs,
    /// Instant of its last pass of any kind.
    read_ms: TimeMs,
}

/// The sampler's own state; `run` is its thread.
pub struct Sampler {
    options: SamplerOptions,
    shared: Shared,
    clock: Arc<dyn Clock>,
    watch: ClockWatch,
    inbox: Receiver<Message>,
    pool: Pool,
    here: Vec<Resting>,
    apart: Vec<Resting>,
    away: Vec<Away>,
    waiting: Vec<SyncSender<()>>,
    stuck_things: HashSet<(Owner, String)>,
    window: OpenWindow,
    history: HistoryFeed,
    next_ms: TimeMs,
    relief_ms: Option<TimeMs>,
    generation: u64,
}

impl Sampler {
    /// Builds the collectors. Nothing is read before `run`.
    pub(super) fn new(
        options: SamplerOptions,
        shared: Shared,
        clock: Arc<dyn Clock>,
    ) -> (Self, SyncSender<Message>) {
        let (outbox, inbox) = sync_channel(INBOX_LENGTH);
        let pool = pool(&outbox);
        let window = OpenWindow::new(Arc::clone(&shared.catalog), ms(options.window));
        let history = HistoryFeed::new(ms(options.history));
        let watch = ClockWatch::new(&*clock);
        let mut sampler = Self {
            options,
            shared,
            clock,
            watch,
            inbox,
            pool,
            here: Vec::new(),
            apart: Vec::new(),
            away: Vec::new(),
            waiting: Vec::new(),
            stuck_things: HashSet::new(),
            window,
            history,
            next_ms: 0,
            relief_ms: None,
            generation: 0,
        };
        sampler.build_units();
        (sampler, outbox)
    }

    /// Builds the collectors that are on, but for those that are at work already and go on.
    fn build_units(&mut self) {
        let options = &self.options;
        let mut units = build_all(&options.collectors, &self.shared.catalog, options.interval);
        let state = |unit: &Unit| {
            let slow = unit.entry.slow.is_some();
            CollectorState::new(unit.entry.name, unit.tick().owner(), unit.interval, slow)
        };
        self.shared.board.set_collectors(units.iter().map(state).collect());
        let at_work = self.here.iter().chain(&self.apart).map(|resting| resting.unit.tick().owner());
        let at_work: HashSet<Owner> = at_work.chain(self.away.iter().map(|away| away.owner)).collect();
        units.retain(|unit| !at_work.contains(&unit.tick().owner()));
        self.generation += 1;
        for mut unit in units {
            unit.generation = self.generation;
            let place = unit.entry.place;
            let resting = Resting { unit, stored_ms: TimeMs::MIN, read_ms: TimeMs::MIN };
            match place {
                Place::Sampler => self.here.push(resting),
                Place::Apart => self.apart.push(resting),
            }
        }
    }

    /// Samples until it is told to stop. `ready` is called after the first pass of everything.
    pub fn run(mut self, ready: impl FnOnce()) {
        if self.prime() == Next::Stay {
            ready();
            self.next_ms = self.after(self.clock.wall_ms());
            while self.step() == Next::Stay {}
        }
        self.absorb();
        self.seal();
    }

    /// Sleeps until a message comes or something is due, and does it.
    fn step(&mut self) -> Next {
        self.shared.stats.beat();
        match self.inbox.recv_timeout(self.until_wake()) {
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Next::End,
            Ok(message) => self.obey(message),
            Err(RecvTimeoutError::Timeout) => self.wake(),
        }
        Next::Stay
    }

    /// The first pass: pages have something to show, the store gets nothing, for its instant is
    /// not on the grid.
    fn prime(&mut self) -> Next {
        let now = self.clock.wall_ms();
        self.start_apart(now, false, |_| true);
        self.run_here(now, false, |_| true);
        let give_up = self.clock.awake() + RELIEF_AFTER * 4;
        while !self.away.is_empty() && self.clock.awake() < give_up {
            match self.inbox.recv_timeout(RELIEF_AFTER) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Next::End,
                Ok(message) => self.obey(message),
                Err(RecvTimeoutError::Timeout) => self.absorb(),
            }
            self.pool.relieve();
        }
        Next::Stay
    }

    fn until_wake(&self) -> Duration {
        let wake_ms = self.relief_ms.map_or(self.next_ms, |relief| relief.min(self.next_ms));
        let wait = Duration::from_millis(wake_ms.max(0) as u64).saturating_sub(self.clock.wall());
        wait.min(SLEEP_MAX)
    }

    /// The first instant of the grid after this one.
    fn after(&self, time_ms: TimeMs) -> TimeMs {
        let interval = ms(self.options.interval);
        time_ms - time_ms.rem_euclid(interval) + interval
    }

    fn wake(&mut self) {
        let now = self.clock.wall_ms();
        if let Some(disturbance) = self.watch.look(&*self.clock) {
            self.note(disturbance);
        }
        if now >= self.next_ms || self.next_ms - now > ms(self.options.interval) {
            self.tick(now);
        } else if self.relief_ms.is_some_and(|relief| now >= relief) {
            self.relief_ms = None;
            self.absorb();
            self.pool.relieve();
            self.answer_waiting();
        }
    }

    /// One tick of the grid. Grid instants that have passed by are counted and left out.
    fn tick(&mut self, now: TimeMs) {
        let interval = ms(self.options.interval);
        let time_ms = now - now.rem_euclid(interval);
        let skipped = (time_ms - self.next_ms) / interval;
        let late = self.clock.wall().saturating_sub(Duration::from_millis(time_ms.max(0) as u64));
        self.shared.stats.ticked(late, skipped.max(0) as u64);
        self.next_ms = time_ms + interval;
        self.absorb();
        if self.window.is_over(time_ms) {
            self.seal();
        }
        self.window.open(time_ms);
        self.find_stuck(time_ms);
        let due = |resting: &Resting| is_due(resting, time_ms);
        self.start_apart(time_ms, true, due);
        self.run_here(time_ms, true, due);
        self.relief_ms = (!self.away.is_empty()).then_some(time_ms + ms(RELIEF_AFTER));
    }

    fn run_here(&mut self, time_ms: TimeMs, stored: bool, due: impl Fn(&Resting) -> bool) {
        let mut here = std::mem::take(&mut self.here);
        for resting in here.iter_mut().filter(|resting| due(resting)) {
            let pass = resting.unit.run(time_ms);
            resting.read_ms = time_ms;
            if stored {
                resting.stored_ms = time_ms;
            }
            self.publish(&resting.unit, pass, stored);
        }
        self.here = here;
    }

    fn start_apart(&mut self, time_ms: TimeMs, stored: bool, due: impl Fn(&Resting) -> bool) {
        let (going, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut self.apart).into_iter().partition(due);
        self.apart = staying;
        let since = self.clock.awake();
        let away = |resting: &Resting| Away {
            owner: resting.unit.tick().owner(),
            generation: resting.unit.generation,
            entry: resting.unit.entry,
            interval_ms: ms(resting.unit.interval),
            since_ms: time_ms,
            since,
            due_ms: time_ms,
            stored,
            stored_ms: resting.stored_ms,
            stuck: false,
        };
        self.away.extend(going.iter().map(away));
        self.pool.run(going.into_iter().map(|resting| resting.unit), time_ms);
    }

    /// Takes the passes that have ended apart.
    fn absorb(&mut self) {
        for (mut unit, pass) in self.pool.take_finished() {
            let who = (unit.tick().owner(), unit.generation);
            // Of a unit whose settings have changed meanwhile nobody wants to hear any more.
            let known = self.away.iter().position(|away| (away.owner, away.generation) == who);
            let Some(position) = known else { continue };
            unit.adopt(&self.options.collectors, self.options.interval);
            let away = self.away.swap_remove(position);
            if away.stuck {
                let text = format!("answers again after {}", format_span(pass.took));
                self.event(EventKind::Recovered, away.entry.name, text);
            }
            let read_ms = pass.time_ms;
            let stored_ms = if away.stored { read_ms } else { away.stored_ms };
            self.publish(&unit, pass, away.stored);
            self.apart.push(Resting { unit, stored_ms, read_ms });
        }
        if self.away.is_empty() {
            self.relief_ms = None;
            self.answer_waiting();
        }
    }

    fn publish(&mut self, unit: &Unit, pass: Pass, stored: bool) {
        let no_data = pass.error.as_ref().is_some_and(fieldpost_collectors::CollectError::is_no_data);
        let error = pass.error.filter(|_| !no_data);
        let error = error.map(|error| format!("{:#}", anyhow::Error::from(error))).unwrap_or_default();
        let mut news = None;
        self.shared.board.publish(unit.tick(), |state| {
            if state.error != error {
                news = Some(error.clone()).filter(|error| !error.is_empty());
                state.error = error;
            }
            state.took = pass.took;
            state.no_data = no_data;
            state.stuck_since_ms = None;
        });
        if let Some(error) = news {
            tracing::warn!(collector = unit.entry.name, %error, "collector failed");
        }
        if let Some(table) = unit.table() {
            if table.kind == TableKind::Processes {
                self.shared.processes.lock().update(table);
            }
            self.history.offer(table, stored);
        }
        if stored {
            self.window.push(unit.tick());
        }
        self.note_stuck_things(unit);
    }

    /// Tells once of each thing (a mount) that a collector found stuck, and once when it answers.
    fn note_stuck_things(&mut self, unit: &Unit) {
        let stuck = unit.stuck();
        let owner = unit.tick().owner();
        if stuck.is_empty() && self.stuck_things.is_empty() {
            return;
        }
        for thing in &stuck {
            if self.stuck_things.insert((owner, thing.subject.clone())) {
                let text = format!("has not answered for {}; all else goes on", format_span(thing.age));
                self.event(EventKind::Stuck, &thing.subject, text);
            }
        }
        let answers =
            |known: &(Owner, String)| known.0 == owner && !stuck.iter().any(|thing| thing.subject == known.1);
        let recovered: Vec<_> = self.stuck_things.iter().filter(|known| answers(known)).cloned().collect();
        for known in recovered {
            self.event(EventKind::Recovered, &known.1, "answers again, or is gone".into());
            self.stuck_things.remove(&known);
        }
    }

    /// Counts the passes that are left out at this instant because the one before has not ended,
    /// and tells once of each collector that does not answer.
    fn find_stuck(&mut self, time_ms: TimeMs) {
        let mut found = Vec::new();
        let awake = self.clock.awake();
        for away in &mut self.away {
            if !is_same_slot(away.due_ms, time_ms, away.interval_ms) {
                away.due_ms = time_ms;
                self.shared.board.update(away.owner, |state| state.overruns += 1);
                self.shared.stats.overran();
            }
            let held = awake.saturating_sub(away.since);
            if !away.stuck && ms(held) > STUCK_AFTER_MS.max(away.interval_ms.saturating_mul(3)) {
                away.stuck = true;
                self.shared.board.update(away.owner, |state| state.stuck_since_ms = Some(away.since_ms));
                found.push((away.entry.name, held));
            }
        }
        for (name, held) in found {
            let text = format!("has not answered for {}; all others go on", format_span(held));
            self.event(EventKind::Stuck, name, text);
        }
    }

    fn seal(&mut self) {
        // Tables first: the writer commits what waits as soon as a window comes.
        let tables = self.history.take();
        if !tables.is_empty() {
            self.shared.store.append_tables(tables);
        }
        if let Some(window) = self.window.seal() {
            self.shared.store.append(window);
        }
        self.shared.catalog.sweep();
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::PassesDone => self.absorb(),
            Message::Refresh(answer) => self.refresh(answer),
            // Whoever asked may have given up.
            Message::Peek(answer) => drop(answer.try_send(self.window.peek())),
            Message::Apply(options, answer) => {
                self.apply(*options);
                // Whoever asked may have gone; that is no concern of the sampler.
                let _ = answer.try_send(());
            }
            Message::Stop => {}
        }
    }

    /// Reads anew what a page would show too old, but never what is slow by nature or under way.
    /// All who ask meanwhile wait for the same passes.
    fn refresh(&mut self, answer: SyncSender<()>) {
        let now = self.clock.wall_ms();
        let stale = |resting: &Resting| {
            resting.unit.entry.slow.is_none() && is_stale(resting.unit.interval, resting.read_ms, now)
        };
        self.start_apart(now, false, stale);
        self.run_here(now, false, stale);
        self.waiting.push(answer);
        if self.away.is_empty() {
            self.answer_waiting();
        } else {
            self.relief_ms = Some(now + ms(RELIEF_AFTER));
        }
    }

    fn answer_waiting(&mut self) {
        for answer in self.waiting.drain(..) {
            // Whoever asked may have given up.
            let _ = answer.try_send(());
        }
    }

    /// Goes on with other settings. Only collectors whose own settings changed are built anew:
    /// the others keep their counts.
    fn apply(&mut self, options: SamplerOptions) {
        // A tick that is due comes first, and one that passes while collectors are built is still
        // to be taken afterwards: or they would be lost.
        let now = self.clock.wall_ms();
        if now >= self.next_ms {
            self.tick(now);
        }
        self.window.set_length(ms(options.window));
        self.history.set_interval(ms(options.history));
        let old = std::mem::replace(&mut self.options, options);
        if old.collectors == self.options.collectors && old.interval == self.options.interval {
            return;
        }
        self.absorb();
        let (new, base) = (Arc::clone(&self.options.collectors), self.options.interval);
        let goes_on = |entry: &Entry| new.is_on(entry) && new.is_same_for(entry, &old.collectors);
        let catalog = &self.shared.catalog;
        for units in [&mut self.here, &mut self.apart] {
            units.retain_mut(|resting| {
                let keep = goes_on(resting.unit.entry);
                if keep {
                    resting.unit.adopt(&new, base);
                } else {
                    catalog.retire_owner(resting.unit.tick().owner());
                }
                keep
            });
        }
        self.away.retain(|away| {
            let keep = goes_on(away.entry);
            if !keep {
                catalog.retire_owner(away.owner);
            }
            keep
        });
        self.build_units();
        let on = [&self.here, &self.apart].into_iter().flatten().map(|resting| resting.unit.tick().owner());
        let on: HashSet<Owner> = on.chain(self.away.iter().map(|away| away.owner)).collect();
        self.stuck_things.retain(|(owner, _)| on.contains(owner));
        self.next_ms = self.after(now);
    }

    fn note(&mut self, disturbance: Disturbance) {
        let span = |ms: i64| format_span(Duration::from_millis(ms.unsigned_abs()));
        let text = match disturbance {
            Disturbance::Slept(ms) => format!("the machine slept for {}", span(ms)),
            Disturbance::Jumped(ms) if ms < 0 => format!("the wall clock was set back by {}", span(ms)),
            Disturbance::Jumped(ms) => format!("the wall clock was set forward by {}", span(ms)),
        };
        self.event(EventKind::ClockJump, "", text);
    }

    fn event(&self, kind: EventKind, subject: &str, text: String) {
        tracing::warn!(subject, "{text}");
        let time_ms = self.clock.wall_ms();
        self.shared.store.append_event(Event { time_ms, kind, subject: subject.to_owned(), text });
    }
}

fn pool(outbox: &SyncSender<Message>) -> Pool {
    let outbox = outbox.clone();
    // A full inbox means that the sampler will look anyway.
    Pool::new(move || drop(outbox.try_send(Message::PassesDone)))
}

fn is_due(resting: &Resting, time_ms: TimeMs) -> bool {
    resting.stored_ms == TimeMs::MIN || !is_same_slot(resting.stored_ms, time_ms, ms(resting.unit.interval))
}

/// Do two instants lie between the same two of the grid of this interval?
fn is_same_slot(a: TimeMs, b: TimeMs, interval_ms: i64) -> bool {
    a.div_euclid(interval_ms) == b.div_euclid(interval_ms)
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
