//! The spool when the store is opened: what is in the files, from which number on it goes, and
//! whether it is still the one that the hubs know.

use fieldpost_model::{EventKind, Intervals, Seq, Stream};
use rusqlite::Connection;

use super::read_seqs;
use crate::codec::CodecError;
use crate::config::Durability;
use crate::dictionary::read_entries;
use crate::folder::{self, FileKind, StoreFile};
use crate::record::merged_numbers;
use crate::shared::Shared;
use crate::state::{GapReason, State};
use crate::store::Opened;
use crate::writer::chain;
use crate::{StoreError, database};

/// Numbers left out where some may have been given that nobody can read any more, for no number
/// is given twice: after a file was found damaged, and after a stop that may have undone commits.
/// More than a file can have of them.
const N_SEQS_SKIPPED: Seq = 100_000;

/// Looks through the files; answers whether a new spool began.
pub(crate) fn open(
    shared: &Shared,
    state: &mut State,
    opened: &Opened,
    state_is_new: bool,
) -> Result<bool, StoreError> {
    let mut n_damaged = opened.quarantined.len();
    for file in folder::list(&shared.folder)? {
        if super::stream_of(file.kind).is_some() {
            n_damaged += usize::from(!index(shared, &file)?);
        }
    }
    set_floors(shared, state, state_is_new)?;
    let relaxed = shared.config.durability == Durability::Relaxed;
    if n_damaged > 0 {
        skip_numbers(shared, GapReason::Damage);
    } else if relaxed && !opened.last_stop_clean {
        skip_numbers(shared, GapReason::Unclean);
    }
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

/// Takes in the numbers of a file's items; answers whether it is whole. One that cannot be read
/// has none: whoever merges or writes it finds out and puts it aside.
pub(crate) fn index(shared: &Shared, file: &StoreFile) -> Result<bool, StoreError> {
    let read = database::open_reader(&file.path).and_then(|connection| read_seqs(&connection, file));
    match read {
        Ok(seqs) => shared.spool.put(file, seqs),
        Err(error) if error.is_vanished() || error.is_unmade() => {}
        Err(error) if error.is_damage() => {
            tracing::debug!(file = %file.path.display(), error = chain(&error), "its items are unknown");
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Reads all that has to be read of a file to send its items, but the items.
pub(crate) fn examine(file: &StoreFile) -> Result<(), StoreError> {
    let connection = database::open_reader(&file.path)?;
    let checked = database::quick_check(&connection).map_err(StoreError::sql("check", &file.path))?;
    if !checked {
        let source = CodecError::Malformed("SQLite finds its pages damaged");
        return Err(StoreError::Blob { path: file.path.clone(), source });
    }
    read_seqs(&connection, file)?;
    read_lineage(&connection).map_err(StoreError::sql("read", &file.path))?;
    if file.kind == FileKind::Hot {
        read_entries(&connection, &file.path)?;
    }
    Ok(())
}

/// Which files give no number of a series or an entity two meanings.
pub(crate) fn read_lineage(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE key = 'lineage'", [], |row| row.get(0))
}

/// No number that was ever given is given again.
fn set_floors(shared: &Shared, state: &State, state_is_new: bool) -> Result<(), StoreError> {
    let spool = &shared.spool;
    spool.skip_to(Stream::Metrics, state.next("next_seq")? - 1);
    spool.skip_to(Stream::Processes, state.next("next_table_seq")? - 1);
    if state_is_new {
        let merged = merged_numbers(&shared.folder)?;
        spool.skip_to(Stream::Metrics, merged.last().unwrap_or(0));
    }
    Ok(())
}

fn skip_numbers(shared: &Shared, reason: GapReason) {
    let now_ms = (shared.clock)();
    for stream in [Stream::Metrics, Stream::Processes] {
        let last = shared.spool.last(stream);
        shared.spool.skip_to(stream, last + N_SEQS_SKIPPED);
        let skipped = Intervals::of(last + 1, last + N_SEQS_SKIPPED);
        shared.lose(stream, &skipped, (now_ms, now_ms), 0, reason);
    }
}

/// Says as an event that a new spool began.
pub(crate) fn say_new(shared: &Shared, reason: &str) {
    tracing::warn!(reason, "a new spool begins: hubs are sent anew what is here");
    let text = format!("a new spool began: {reason}; hubs are sent anew what is here");
    shared.note(EventKind::Store, "spool", text);
}
