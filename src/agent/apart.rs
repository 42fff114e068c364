//! The pool for collectors that may be kept waiting by a driver, a file system or another
//! program: they run apart from the sampler, which takes what is done and goes on without the rest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use fieldpost_collectors::{Pass, Unit};
use fieldpost_model::TimeMs;
use parking_lot::{Condvar, Mutex};

/// Threads that are kept for the next pass; more are started only while others are held up, at
/// most one for each unit. Those that are held up for ever do not count: the next pass finds a
/// thread waiting all the same.
const KEPT_THREADS: usize = 2;
/// Stack of such a thread, bytes.
const STACK_BYTES: usize = 512 << 10;

struct Job {
    unit: Unit,
    time_ms: TimeMs,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    finished: Vec<(Unit, Pass)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    all_done: Box<dyn Fn() + Send + Sync>,
}

/// The pool. Bounded by the number of units: each has at most one pass under way.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// `all_done` is called whenever no pass waits any more (one wake for many passes).
    pub fn new(all_done: impl Fn() + Send + Sync + 'static) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), all_done: Box::new(all_done) };
        Self { shared: Arc::new(shared) }
    }

    /// Starts passes of these units at this instant.
    pub fn run(&self, units: impl IntoIterator<Item = Unit>, time_ms: TimeMs) {
        let mut state = self.shared.state.lock();
        state.queue.extend(units.into_iter().map(|unit| Job { unit, time_ms }));
        if state.queue.is_empty() {
            return;
        }
        if state.threads == 0 && self.start_thread() {
            state.threads += 1;
        }
        drop(state);
        self.shared.work.notify_one();
    }

    /// Gives queued passes another thread when those at work are held up.
    pub fn relieve(&self) {
        let mut state = self.shared.state.lock();
        if state.queue.is_empty() {
            return;
        }
        if state.idle > 0 {
            self.shared.work.notify_one();
        } else if self.start_thread() {
            state.threads += 1;
        }
    }

    /// Takes the units whose passes have ended.
    pub fn take_finished(&self) -> Vec<(Unit, Pass)> {
        std::mem::take(&mut self.shared.state.lock().finished)
    }

    fn start_thread(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let builder = thread::Builder::new().name("apart".into()).stack_size(STACK_BYTES);
        let started = builder.spawn(move || work(&shared));
        if let Err(error) = &started {
            tracing::error!(%error, "cannot start a thread for collectors that run apart");
        }
        started.is_ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

fn work(shared: &Shared) {
    while let Some(Job { mut unit, time_ms }) = next(shared) {
        let pass = unit.run(time_ms);
        let mut state = shared.state.lock();
        state.finished.push((unit, pass));
        let all_done = state.queue.is_empty();
        drop(state);
        if all_done {
            (shared.all_done)();
        }
    }
}

fn next(shared: &Shared) -> Option<Job> {
    let mut state = shared.state.lock();
    loop {
        if state.closed {
            return None;
        }
        if let Some(job) = state.queue.pop_front() {
            return Some(job);
        }
        if state.idle >= KEPT_THREADS {
            state.threads -= 1;
            return None;
        }
        state.idle += 1;
        shared.work.wait(&mut state);
        state.idle -= 1;
    }
}
