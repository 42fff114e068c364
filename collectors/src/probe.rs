//! Calls that may sleep for ever (statfs on a dead NFS or FUSE mount), made on threads of their
//! own. Whoever asks waits as long as it likes and looks again later; nobody is asked twice
//! before it answers; and no more than a fixed number of threads can be caught in such calls.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The most threads that one prober has, all of which may hang. When they do, further calls wait
/// in the queue and count as unanswered: one dead mount more is reported like the others.
pub const N_THREADS_MAX: usize = 16;

/// A thread without work ends after this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Stack of a probing thread, bytes: a system call and a few frames.
const STACK_SIZE_BYTES: usize = 128 << 10;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    n_threads: usize,
    n_idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    answered: Condvar,
}

/// A few threads that make calls which may never return. They are started when needed. Dropping
/// the prober ends the idle ones; caught ones end when their call returns.
#[derive(Default)]
pub struct Prober {
    shared: Arc<Shared>,
}

impl Prober {
    /// Waits until `done` says so or the time is up. `done` is asked first and after every answer.
    pub fn wait_until(&self, deadline: Instant, mut done: impl FnMut() -> bool) {
        let mut state = self.shared.state.lock();
        while !done() {
            if self.shared.answered.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// How many threads there are now, at work, idle or caught.
    pub fn n_threads(&self) -> usize {
        self.shared.state.lock().n_threads
    }

    fn submit(&self, job: Job) {
        let mut state = self.shared.state.lock();
        state.queue.push_back(job);
        if state.n_idle >= state.queue.len() || state.n_threads == N_THREADS_MAX {
            self.shared.work.notify_one();
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("probe".into()).stack_size(STACK_SIZE_BYTES);
        match thread.spawn(move || work(&shared)) {
            Ok(_) => state.n_threads += 1,
            // The job stays queued for the threads that exist, and its age tells the rest.
            Err(error) => tracing::warn!("no thread for a probe of a mount: {error}"),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.queue.clear();
        self.shared.work.notify_all();
    }
}

fn work(shared: &Shared) {
    while let Some(job) = next_job(shared) {
        // A job that panics counts as never answered; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
        // Whoever waits holds this lock between asking and sleeping: taken once here, the notice
        // cannot fall in between.
        drop(shared.state.lock());
        shared.answered.notify_all();
    }
}

/// The next job; none when the prober is gone or there was nothing to do for long.
fn next_job(shared: &Shared) -> Option<Job> {
    let mut state = shared.state.lock();
    let mut timed_out = false;
    loop {
        if let Some(job) = state.queue.pop_front() {
            return Some(job);
        }
        if state.closed || timed_out {
            state.n_threads -= 1;
            return None;
        }
        state.n_idle += 1;
        timed_out = shared.work.wait_for(&mut state, IDLE_TIMEOUT).timed_out();
        state.n_idle -= 1;
    }
}

/// What a call gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<T> {
    /// Its result.
    pub value: T,
    /// How long it took from asking.
    pub took: Duration,
}

/// One thing that is asked over and over, at most once at a time.
pub struct Probe<T> {
    slot: Arc<Mutex<Option<Answer<T>>>>,
    asked: Option<Instant>,
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self { slot: Arc::default(), asked: None }
    }
}

impl<T: Send + 'static> Probe<T> {
    /// Asks, unless an earlier call has not answered yet or its answer was not taken.
    pub fn ask(&mut self, prober: &Prober, call: impl FnOnce() -> T + Send + 'static) {
        if self.asked.is_some() {
            return;
        }
        let (asked, slot) = (Instant::now(), Arc::clone(&self.slot));
        self.asked = Some(asked);
        prober.submit(Box::new(move || {
            let value = call();
            *slot.lock() = Some(Answer { value, took: asked.elapsed() });
        }));
    }

    /// Is there an answer to take?
    pub fn is_answered(&self) -> bool {
        self.slot.lock().is_some()
    }

    /// Takes the answer. From then on it may be asked again.
    pub fn take(&mut self) -> Option<Answer<T>> {
        let answer = self.slot.lock().take()?;
        self.asked = None;
        Some(answer)
    }

    /// How long the call that has not answered is out.
    pub fn out_for(&self) -> Option<Duration> {
        self.asked.filter(|_| !self.is_answered()).map(|asked| asked.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn answer_is_taken_once_and_asked_anew() {
        let (prober, mut probe) = (Prober::default(), Probe::default());
        for round in 0..3 {
            probe.ask(&prober, move || round);
            prober.wait_until(far(), || probe.is_answered());
            assert_eq!(probe.take().map(|answer| answer.value), Some(round));
            assert!(probe.take().is_none());
        }
    }

    #[test]
    fn call_that_hangs_is_not_made_again_until_it_returns() {
        let (prober, mut probe) = (Prober::default(), Probe::default());
        let (release, gate) = mpsc::channel::<()>();
        probe.ask(&prober, move || gate.recv().is_ok());
        probe.ask(&prober, || panic!("asked twice"));
        prober.wait_until(Instant::now(), || probe.is_answered());
        assert!(probe.out_for().is_some() && probe.take().is_none());
        release.send(()).unwrap();
        prober.wait_until(far(), || probe.is_answered());
        assert_eq!(probe.take().map(|answer| answer.value), Some(true));
        assert!(probe.out_for().is_none());
    }

    #[test]
    fn number_of_caught_threads_is_bounded_and_the_queue_drains_afterwards() {
        let prober = Prober::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        let mut probes: Vec<Probe<()>> = (0..3 * N_THREADS_MAX).map(|_| Probe::default()).collect();
        for probe in &mut probes {
            let gate = Arc::clone(&gate);
            probe.ask(&prober, move || drop(gate.lock()));
        }
        assert_eq!(prober.n_threads(), N_THREADS_MAX);
        assert!(probes.iter().all(|probe| !probe.is_answered()));
        drop(closed);
        prober.wait_until(far(), || probes.iter().all(Probe::is_answered));
        assert!(probes.iter().all(Probe::is_answered));
    }

    #[test]
    fn one_that_hangs_does_not_delay_the_others() {
        let prober = Prober::default();
        let (_release, gate) = mpsc::channel::<()>();
        let (mut dead, mut well) = (Probe::default(), Probe::default());
        dead.ask(&prober, move || gate.recv().is_ok());
        well.ask(&prober, || true);
        prober.wait_until(far(), || well.is_answered());
        assert!(well.is_answered() && !dead.is_answered());
    }
}
