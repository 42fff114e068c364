//! Requests of one sender: the work on them goes on side by side, but what comes of it is handed on in
//! the order in which it began, so that a series is never used before it was described.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// What the requests of a sender share.
pub(super) struct Lane<T> {
    inner: Mutex<Inner<T>>,
    moved: Condvar,
}

struct Inner<T> {
    shared: T,
    n_begun: u64,
    n_ended: u64,
}

/// A request's place: those behind it wait for it, however it ends.
pub(super) struct Place<T> {
    lane: Arc<Lane<T>>,
    number: u64,
}

impl<T> Lane<T> {
    /// With this to share.
    pub(super) fn new(shared: T) -> Self {
        Self { inner: Mutex::new(Inner { shared, n_begun: 0, n_ended: 0 }), moved: Condvar::new() }
    }

    /// Changes what is shared, whoever else is at work.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.inner.lock().shared)
    }

    /// Begins: takes a place at the same instant at which it does this, unless that fails.
    pub(super) fn begin<R, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<(R, Place<T>), E> {
        let mut inner = self.inner.lock();
        let begun = work(&mut inner.shared)?;
        let number = inner.n_begun;
        inner.n_begun += 1;
        Ok((begun, Place { lane: Arc::clone(self), number }))
    }
}

impl<T> Place<T> {
    /// In which it is.
    pub(super) fn lane(&self) -> Arc<Lane<T>> {
        Arc::clone(&self.lane)
    }

    /// Does this once all who began before have ended.
    pub(super) fn end<R>(self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.turn().shared)
    }

    fn turn(&self) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.lane.inner.lock();
        self.lane.moved.wait_while(&mut inner, |inner| inner.n_ended != self.number);
        inner
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.turn().n_ended += 1;
        self.lane.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_in_the_order_in_which_it_began_even_if_some_of_it_breaks_off() {
        let lane = Arc::new(Lane::new(Vec::new()));
        let refused = lane.begin(|_| Err::<(), _>("no")).err();
        assert_eq!(refused, Some("no"));
        let begun = (0..8).map(|n| (n, lane.begin(|_| Ok::<_, ()>(())).unwrap().1));
        let mut places: Vec<_> = begun.collect();
        places.reverse();
        let end = |(n, place): (i32, Place<Vec<i32>>)| {
            std::thread::spawn(move || match n {
                3 => drop(place),
                4 => place.end(|_| panic!("while it ends")),
                _ => place.end(|ended| ended.push(n)),
            })
        };
        let ending: Vec<_> = places.into_iter().map(end).collect();
        let n_broken = ending.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
        assert_eq!(n_broken, 1);
        assert_eq!(lane.with(|ended| ended.clone()), [0, 1, 2, 5, 6, 7]);
    }
}
