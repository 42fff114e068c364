//! The spool when the store is opened: what is in the files, from which number on it goes, and
//! whether it is still the one that the hubs know.

use fieldpost_model::{EventKind, Intervals, Seq, Stream};

use super::read_seqs;
use crate::config::Durability;
use crate::folder::{self, StoreFile};
use crate::record::merged_numbers;
use crate::state::{GapReason, State};
use crate::store::Opened;
use crate::writer::{Shared, chain};
use crate::{StoreError, database};

/// Numbers left out where some may have been given that nobody can read any more, for no number
/// is given twice: after a damaged file was put aside, and after a stop that may have undone
/// commits.
const N_SEQS_SKIPPED: Seq = 10_000;

/// Looks through the files; answers whether a new spool began.
pub(crate) fn open(
    shared: &Shared,
    state: &mut State,
    opened: &Opened,
    state_is_new: bool,
) -> Result<bool, StoreError> {
    for file in folder::list(&shared.folder)? {
        if super::stream_of(file.kind).is_some() {
            index(shared, &file)?;
        }
    }
    set_floors(shared, state, opened, state_is_new)?;
    shared.spool.noted(state.notes()?);
    let mut kept = state.spool()?;
    let rolled_back = kept.is_ahead_of(&shared.spool);
    if rolled_back {
        state.renew_spool()?;
        kept = state.spool()?;
        say_new(shared, "a hub has acknowledged what is not here any more");
    }
    let new = rolled_back || (state_is_new && !opened.quarantined.is_empty());
    shared.spool.begin(opened.agent_id.clone(), kept);
    Ok(new)
}

/// Takes in the numbers of a file's items. One that cannot be read has none: whoever merges or
/// writes it finds out and puts it aside.
pub(crate) fn index(shared: &Shared, file: &StoreFile) -> Result<(), StoreError> {
    let read = database::open_reader(&file.path).and_then(|connection| read_seqs(&connection, file));
    match read {
        Ok(seqs) => shared.spool.put(file, seqs),
        Err(error) if error.is_damage() || error.is_vanished() || error.is_unmade() => {
            tracing::debug!(file = %file.path.display(), error = chain(&error), "its items are unknown");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// No number that was ever given is given again.
fn set_floors(shared: &Shared, state: &State, opened: &Opened, state_is_new: bool) -> Result<(), StoreError> {
    let spool = &shared.spool;
    spool.skip_to(Stream::Metrics, state.next("next_seq")? - 1);
    spool.skip_to(Stream::Processes, state.next("next_table_seq")? - 1);
    if state_is_new {
        let merged = merged_numbers(&shared.folder)?;
        spool.skip_to(Stream::Metrics, merged.last().unwrap_or(0));
    }
    let reason = if !opened.quarantined.is_empty() {
        GapReason::Damage
    } else if !opened.last_stop_clean && shared.config.durability == Durability::Relaxed {
        GapReason::Unclean
    } else {
        return Ok(());
    };
    let now_ms = (shared.clock)();
    for stream in [Stream::Metrics, Stream::Processes] {
        let last = spool.last(stream);
        spool.skip_to(stream, last + N_SEQS_SKIPPED);
        let skipped = Intervals::of(last + 1, last + N_SEQS_SKIPPED);
        shared.lose(stream, &skipped, (now_ms, now_ms), 0, reason);
    }
    Ok(())
}

/// Says as an event that a new spool began.
pub(crate) fn say_new(shared: &Shared, reason: &str) {
    tracing::warn!(reason, "a new spool begins: hubs are sent anew what is here");
    let text = format!("a new spool began: {reason}; hubs are sent anew what is here");
    shared.note(EventKind::Store, "spool", text);
}
