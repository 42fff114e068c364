//! What waits for the writer thread: bounded, and never a reason for the sampler to wait. Items
//! stay in the queue until they are on the disk; when too many wait, the oldest that the writer
//! has not taken up goes, and is counted as a gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{Event, Lost, Stream, TableTick, Window};
use parking_lot::{Condvar, Mutex};

use crate::config::WINDOW_MS_MAX;
use crate::spool::Errand;
use crate::state::{Gap, GapReason};

/// How much may wait, as a span of time; the newest are kept.
const SPAN_MS_MAX: i64 = 300_000;
/// The most table ticks that may wait.
const N_TABLES_MAX: usize = 200;
/// So many table ticks do not wait for a window any longer.
const N_TABLES_WAITING: usize = 20;
/// The most events, gaps and notes of lost items that may wait each.
const N_NOTES_MAX: usize = 1_000;
/// The most errands that may wait: hubs acknowledge one after the other.
const N_ERRANDS_MAX: usize = 100;

/// What the writer takes up at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) windows: Vec<Arc<Window>>,
    pub(crate) tables: Vec<TableTick>,
    pub(crate) events: Vec<Event>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) losses: Vec<(Stream, Lost)>,
    pub(crate) errands: Vec<Errand>,
    pub(crate) closing: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        let notes = self.events.is_empty() && self.gaps.is_empty() && self.losses.is_empty();
        self.windows.is_empty() && self.tables.is_empty() && notes && self.errands.is_empty()
    }
}

#[derive(Default)]
struct Inner {
    windows: VecDeque<Arc<Window>>,
    n_windows_taken: usize,
    tables: VecDeque<TableTick>,
    events: VecDeque<Event>,
    gaps: VecDeque<Gap>,
    losses: VecDeque<(Stream, Lost)>,
    errands: VecDeque<Errand>,
    closing: bool,
    busy: bool,
    n_flushing: usize,
    n_samples_lost: u64,
    n_tables_lost: u64,
}

/// The queue before the writer thread.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    drained: Condvar,
}

impl Queue {
    /// Takes in a window. Answers false where an older one had to go for it.
    pub(crate) fn push_window(&self, window: Arc<Window>) -> bool {
        let mut inner = self.inner.lock();
        inner.windows.push_back(window);
        let whole = !inner.drop_oldest();
        self.filled.notify_one();
        whole
    }

    /// Takes in table ticks; the oldest go when too many wait.
    pub(crate) fn push_tables(&self, ticks: Vec<TableTick>) {
        let mut inner = self.inner.lock();
        inner.tables.extend(ticks);
        inner.drop_tables();
        self.filled.notify_one();
    }

    /// Takes in an event.
    pub(crate) fn push_event(&self, event: Event) {
        let mut inner = self.inner.lock();
        if inner.events.len() == N_NOTES_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back(event);
        self.filled.notify_one();
    }

    /// Takes in a gap.
    pub(crate) fn push_gap(&self, gap: Gap) {
        self.inner.lock().push_gap(gap);
        self.filled.notify_one();
    }

    /// Takes in numbers whose items are no more.
    pub(crate) fn push_lost(&self, stream: Stream, lost: Lost) {
        self.inner.lock().push_lost(stream, lost);
        self.filled.notify_one();
    }

    /// Takes in an errand; refused when too many wait, or the store is being closed.
    pub(crate) fn push_errand(&self, errand: Errand) -> bool {
        let mut inner = self.inner.lock();
        if inner.closing || inner.errands.len() == N_ERRANDS_MAX {
            return false;
        }
        inner.errands.push_back(errand);
        self.filled.notify_one();
        true
    }

    /// Waits for something to do, at most this long, and takes it up.
    pub(crate) fn take(&self, patience: Duration) -> Batch {
        let mut inner = self.inner.lock();
        inner.busy = false;
        if inner.is_empty() {
            self.drained.notify_all();
        }
        if !inner.is_due() && !inner.closing {
            self.filled.wait_for(&mut inner, patience);
        }
        let due = inner.is_due() || inner.closing;
        inner.busy = due && !inner.is_empty();
        inner.n_windows_taken = inner.windows.len();
        Batch {
            windows: inner.windows.iter().cloned().collect(),
            tables: if due { inner.tables.drain(..).collect() } else { Vec::new() },
            events: inner.events.drain(..).collect(),
            gaps: inner.gaps.drain(..).collect(),
            losses: inner.losses.drain(..).collect(),
            errands: inner.errands.drain(..).collect(),
            closing: inner.closing,
        }
    }

    /// The first `n_windows` of those taken up are on the disk.
    pub(crate) fn stored(&self, n_windows: usize) {
        let mut inner = self.inner.lock();
        inner.windows.drain(..n_windows);
        inner.n_windows_taken -= n_windows;
    }

    /// Gives back what could not be written, to be tried again.
    pub(crate) fn give_back(&self, batch: Batch) {
        let Batch { tables, events, gaps, losses, .. } = batch;
        let mut inner = self.inner.lock();
        inner.n_windows_taken = 0;
        for tick in tables.into_iter().rev() {
            inner.tables.push_front(tick);
        }
        inner.drop_tables();
        for event in events.into_iter().rev() {
            inner.events.push_front(event);
        }
        inner.events.truncate(N_NOTES_MAX);
        let newer = std::mem::take(&mut inner.gaps);
        for gap in gaps.into_iter().chain(newer) {
            inner.push_gap(gap);
        }
        let newer = std::mem::take(&mut inner.losses);
        for (stream, lost) in losses.into_iter().chain(newer) {
            inner.push_lost(stream, lost);
        }
        inner.drop_oldest();
    }

    /// Waits out the pause before the next attempt, unless the store is being closed.
    pub(crate) fn pause(&self, span: Duration) {
        let mut inner = self.inner.lock();
        let deadline = std::time::Instant::now() + span;
        while !inner.closing && !self.filled.wait_until(&mut inner, deadline).timed_out() {}
    }

    /// Asks the writer to write what there is and end.
    pub(crate) fn close(&self) {
        self.inner.lock().closing = true;
        self.filled.notify_all();
    }

    /// Waits until everything is on the disk, at most this long.
    pub(crate) fn wait_drained(&self, patience: Duration) -> bool {
        let mut inner = self.inner.lock();
        let deadline = std::time::Instant::now() + patience;
        inner.n_flushing += 1;
        self.filled.notify_one();
        while inner.busy || !inner.is_empty() {
            if self.drained.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.n_flushing -= 1;
        !inner.busy && inner.is_empty()
    }

    /// Windows that wait.
    pub(crate) fn n_windows(&self) -> usize {
        self.inner.lock().windows.len()
    }

    /// Samples and table ticks that were dropped since the start.
    pub(crate) fn n_lost(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.n_samples_lost, inner.n_tables_lost)
    }

    /// Gives up what still waits, as when the store closes on a full disk; answers its samples.
    pub(crate) fn abandon(&self) -> u64 {
        let mut inner = self.inner.lock();
        let n_samples = inner.windows.drain(..).map(|window| window.n_samples()).sum();
        inner.n_samples_lost += n_samples;
        n_samples
    }
}

impl Inner {
    fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.tables.is_empty() && !self.has_notes()
    }

    fn has_notes(&self) -> bool {
        let nothing = self.events.is_empty() && self.gaps.is_empty();
        !nothing || !self.losses.is_empty() || !self.errands.is_empty()
    }

    /// Is there something that has to be written now? Tables wait for the next window, so that
    /// their file is synced no more often than the samples' own.
    fn is_due(&self) -> bool {
        let tables = self.n_flushing > 0 && !self.tables.is_empty() || self.tables.len() >= N_TABLES_WAITING;
        tables || !self.windows.is_empty() || self.has_notes()
    }

    /// Drops windows from the front of those that the writer has not taken up, until the rest
    /// span no more than memory may hold.
    fn drop_oldest(&mut self) -> bool {
        let mut dropped = false;
        // A window that claims more than the longest says that the clock was set.
        let span = |window: &Window| match window.to_ms.saturating_sub(window.from_ms) {
            span @ 1_000..=WINDOW_MS_MAX => span,
            _ => 1_000,
        };
        let mut waiting: i64 = self.windows.iter().map(|window| span(window)).sum();
        while waiting > SPAN_MS_MAX && self.windows.len() > self.n_windows_taken + 1 {
            let Some(window) = self.windows.remove(self.n_windows_taken) else { break };
            waiting -= span(&window);
            let n_samples = window.n_samples();
            self.n_samples_lost += n_samples;
            let reason = GapReason::Overload;
            self.push_gap(Gap { from_ms: window.from_ms, to_ms: window.to_ms, n_samples, reason });
            dropped = true;
        }
        dropped
    }

    /// Gaps that touch become one, so that a long outage is one row.
    fn push_gap(&mut self, gap: Gap) {
        match self.gaps.back_mut() {
            Some(last) if last.reason == gap.reason && last.to_ms == gap.from_ms => {
                last.to_ms = gap.to_ms;
                last.n_samples += gap.n_samples;
            }
            _ => self.gaps.push_back(gap),
        }
        if self.gaps.len() > N_NOTES_MAX {
            // Two neighbours become one that covers both: no sample goes unaccounted.
            if let (Some(first), Some(second)) = (self.gaps.pop_front(), self.gaps.front_mut()) {
                second.from_ms = second.from_ms.min(first.from_ms);
                second.to_ms = second.to_ms.max(first.to_ms);
                second.n_samples += first.n_samples;
            }
        }
    }

    /// What is dropped here is answered later as lost for a reason that nobody knows.
    fn push_lost(&mut self, stream: Stream, lost: Lost) {
        if self.losses.len() == N_NOTES_MAX {
            self.losses.pop_front();
        }
        self.losses.push_back((stream, lost));
    }

    /// A tick that goes hands on what it says about entities, for it is said only once.
    fn drop_tables(&mut self) {
        while self.tables.len() > N_TABLES_MAX {
            let Some(oldest) = self.tables.pop_front() else { return };
            self.n_tables_lost += 1;
            if let Some(next) = self.tables.iter_mut().find(|tick| tick.kind == oldest.kind) {
                let mut entities = oldest.entities;
                entities.append(&mut next.entities);
                next.entities = entities;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(second: i64) -> Arc<Window> {
        let group =
            fieldpost_model::Group { times_ms: vec![second * 1000], series: Vec::new(), values: vec![1.0] };
        Arc::new(Window { from_ms: second * 1000, to_ms: (second + 10) * 1000, groups: vec![group] })
    }

    #[test]
    fn full_queue_drops_the_oldest_and_accounts_for_it() {
        let queue = Queue::default();
        let kept = (0..35).filter(|n| queue.push_window(window(n * 10))).count();
        assert_eq!((kept, queue.n_windows(), queue.n_lost().0), (30, 30, 5));
        let batch = queue.take(Duration::ZERO);
        let gap = Gap { from_ms: 0, to_ms: 50_000, n_samples: 5, reason: GapReason::Overload };
        assert_eq!(batch.gaps, [gap]);
        assert_eq!(batch.windows[0].from_ms, 50_000);
    }

    #[test]
    fn windows_that_the_writer_took_up_are_not_dropped() {
        let queue = Queue::default();
        for n in 0..30 {
            queue.push_window(window(n * 10));
        }
        let taken = queue.take(Duration::ZERO).windows.len();
        queue.push_window(window(300));
        assert_eq!(queue.n_lost().0, 0);
        queue.push_window(window(310));
        queue.stored(taken);
        let rest = queue.take(Duration::ZERO).windows;
        assert_eq!(rest.iter().map(|w| w.from_ms).collect::<Vec<_>>(), [310_000]);
        assert_eq!(queue.n_lost().0, 1);
    }
}
