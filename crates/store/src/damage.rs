//! What happens when a file is damaged: it is put aside, what is whole of it is saved, and what is
//! gone is said, as an event, as gaps, and by the numbers of the items.

use std::path::PathBuf;

use fieldpost_model::{EventKind, Intervals, TimeMs};

use crate::folder::{FileKind, StoreFile};
use crate::maintain::n_samples;
use crate::salvage::Salvage;
use crate::shared::Shared;
use crate::spool::stream_of;
use crate::state::{Found, Gap, GapReason, State};
use crate::writer::chain;
use crate::{StoreError, quarantine, spool};

/// Puts a damaged file aside, and says so as an event and gaps. What can still be read of the
/// windows before this number comes back in a new file of the same name.
pub(crate) fn put_aside(
    shared: &Shared,
    file: &StoreFile,
    error: &StoreError,
    before_seq: i64,
) -> Result<PathBuf, StoreError> {
    let n_samples = n_samples(file).unwrap_or(0);
    let salvage = salvage(file, before_seq, (shared.clock)());
    let moved = quarantine::put_aside(&shared.folder, &file.path, (shared.clock)())?;
    shared.stats.lock().n_quarantined += 1;
    let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = format!("{name} is damaged ({}) and was put aside as {}", chain(error), moved.display());
    let (from_ms, to_ms) = (file.begin_ms(), file.end_ms());
    let mut gaps = vec![Gap { from_ms, to_ms, n_samples, reason: GapReason::Damage }];
    if let Some(salvage) = salvage {
        salvage.put_in_place()?;
        text += &format!("; {} windows were read out of it", salvage.n_windows);
        gaps = salvage.gaps;
    }
    account_for(shared, file, n_samples)?;
    tracing::error!("{text}");
    shared.note(EventKind::Quarantine, &name, text);
    gaps.into_iter().for_each(|gap| shared.queue.push_gap(gap));
    Ok(moved)
}

/// Notes which items were lost with a file that was put aside.
fn account_for(shared: &Shared, file: &StoreFile, n_samples: u64) -> Result<(), StoreError> {
    let Some(stream) = stream_of(file.kind) else {
        shared.spool.merged_anew();
        return Ok(());
    };
    let before = shared.spool.seqs_of(file);
    // At no moment are the windows that were saved in no file.
    let saved = match spool::index(shared, file)? {
        true => shared.spool.seqs_of(file).filter(|_| file.path.exists()).unwrap_or_default(),
        false => Intervals::default(),
    };
    if saved.is_empty() {
        shared.spool.remove(file);
    }
    let first = u64::try_from(file.seq).unwrap_or(0).max(1);
    let before = before.unwrap_or_else(|| Intervals::of(first, saved.last().unwrap_or(0)));
    let gone = before.ranges().iter().flat_map(|(from, to)| saved.missing(*from, *to).ranges().to_vec());
    let mut lost = Intervals::default();
    gone.for_each(|(from, to)| lost.insert(from, to));
    let n_samples = if saved.is_empty() { n_samples } else { 0 };
    shared.lose(stream, &lost, (file.begin_ms(), file.end_ms()), n_samples, GapReason::Damage);
    Ok(())
}

/// What can still be read of a hot file; trouble here costs the file, never the store.
fn salvage(file: &StoreFile, before_seq: i64, now_ms: TimeMs) -> Option<Salvage> {
    if file.kind != FileKind::Hot {
        return None;
    }
    Salvage::read(file, before_seq, now_ms).unwrap_or_else(|error| {
        tracing::warn!(file = %file.path.display(), error = chain(&error), "nothing can be salvaged");
        None
    })
}

/// Opens `state.db`; a damaged one is put aside and a new one begun. Answers where the old one is.
pub(crate) fn open_state(shared: &Shared) -> Result<(State, Found, Option<PathBuf>), StoreError> {
    let error = match State::open(&shared.folder) {
        Err(error) if error.is_damage() => error,
        outcome => return outcome.map(|(state, found)| (state, found, None)),
    };
    let path = State::path(&shared.folder);
    let moved = quarantine::put_aside(&shared.folder, &path, (shared.clock)())?;
    let text =
        format!("state.db is damaged ({}) and was put aside; events before now are in it", chain(&error));
    tracing::error!("{text}");
    shared.note(EventKind::Quarantine, "state.db", text);
    shared.stats.lock().n_quarantined += 1;
    let (state, _) = State::open(&shared.folder)?;
    Ok((state, Found { new: false, clean: false }, Some(moved)))
}
