//! The second thread of an open hub store: merges the hours that are over, lets go of what is too
//! old or too much, and keeps the ballast. It touches no file that the writer has in hand.

use std::sync::Arc;

use crate::hub::shared::Shared;
use crate::writer::chain;
use crate::{StoreError, ballast};

/// The priority of this thread among all: lowest but one.
const NICE: i32 = 15;

/// The thread itself.
pub(crate) fn run(shared: &Arc<Shared>) {
    // Being nice is a wish: where it is refused, merging goes on as it is.
    let _ = rustix::process::nice(NICE);
    let mut done = 0;
    let mut complaint = String::new();
    while let Some(wanted) = shared.wake.wait(done) {
        let outcome = pass(shared);
        let text = outcome.err().map(|error| chain(&error)).unwrap_or_default();
        if !text.is_empty() && text != complaint {
            tracing::warn!(error = text, "the hub's store cannot be tended; it is tried again every minute");
            shared.stats.lock().last_error = Some(text.clone());
        }
        complaint = text;
        done = wanted;
    }
}

fn pass(shared: &Shared) -> Result<(), StoreError> {
    if shared.take_full() {
        ballast::give_up(&shared.folder)?;
    }
    ballast::take_in(&shared.folder, shared.options.quota.0)
}
