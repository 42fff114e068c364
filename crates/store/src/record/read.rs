//! One answer of the record, frame by frame: items out of their files, and for all other numbers
//! why there is none.

use fieldpost_model::{Frame, Intervals, Item, Lost, Seq, Stream, TimeMs};
use rusqlite::{Connection, OptionalExtension, params};

use super::coding::{
    EntityDefinition, N_DEFINITIONS_MAX, Note, TableBlob, encode_definitions, encode_entities, encode_note,
    encode_table_blob,
};
use super::{Ask, Known, Order, Part};
use crate::codec::{checksum, decode_intervals};
use crate::dictionary::read_entries_from;
use crate::folder::{self, FileKind, StoreFile};
use crate::shared::Shared;
use crate::source::open_file;
use crate::spool::{Place, read_lineage};
use crate::state::{State, read_event, read_gap};
use crate::tables::read_entities;
use crate::writer::chain;
use crate::{StoreError, database};

/// What a frame costs beside its content.
const FRAME_BYTES: usize = 64;

/// An answer that is being put together.
pub(super) struct Reading<'a> {
    shared: &'a Shared,
    ask: &'a Ask,
    known: &'a mut Known,
    frames: Vec<Frame>,
    n_bytes: usize,
    n_items: usize,
    state: Option<Connection>,
    open: Option<(StoreFile, Connection, String)>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(shared: &'a Shared, ask: &'a Ask, known: &'a mut Known) -> Self {
        Self { shared, ask, known, frames: Vec::new(), n_bytes: 0, n_items: 0, state: None, open: None }
    }

    pub(super) fn run(mut self) -> Result<Part, StoreError> {
        let last = self.shared.spool.last(self.ask.stream);
        let mut rest = (self.ask.from.max(1), self.ask.to.min(last));
        while rest.0 <= rest.1 && !self.is_full() {
            match self.step(rest) {
                Ok(n) if self.ask.order == Order::Oldest => rest.0 += n,
                Ok(n) => rest.1 -= n,
                // What was read before is whole; the fault comes again with the next part.
                Err(_) if !self.frames.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Part { frames: self.frames, rest: (rest.0 <= rest.1).then_some(rest) })
    }

    fn is_full(&self) -> bool {
        self.n_bytes >= self.ask.max_bytes.max(1) || self.n_items >= self.ask.max_items.max(1)
    }

    fn say(&mut self, frame: Frame) {
        self.n_bytes += FRAME_BYTES;
        match &frame {
            Frame::Item(item) => {
                self.n_bytes += item.blob.len();
                self.n_items += 1;
            }
            Frame::Definitions(bytes) => self.n_bytes += bytes.len(),
            Frame::Scope(text) => self.n_bytes += text.len(),
            Frame::Lost(_) | Frame::Newest(_) => {}
        }
        self.frames.push(frame);
    }

    /// Answers the next numbers; how many, may be none where the ground moved.
    fn step(&mut self, rest: (Seq, Seq)) -> Result<u64, StoreError> {
        let newest = self.ask.order == Order::Newest;
        match self.shared.spool.locate(self.ask.stream, rest, newest) {
            Place::File(file, run) => match self.read_file(&file, run) {
                Err(error) if error.is_vanished() && !file.path.exists() => {
                    // It was merged or let go: the next look finds what became of its numbers.
                    self.shared.spool.merged_away([&file]);
                    Ok(0)
                }
                read => read,
            },
            Place::Notes(run) => self.read_notes(run),
            Place::Nowhere(run) => self.account(run),
        }
    }

    /// The numbers of a run in the order that was asked for.
    fn seqs(&self, (from, to): (Seq, Seq)) -> impl Iterator<Item = Seq> + use<> {
        let newest = self.ask.order == Order::Newest;
        (0..=to - from).map(move |n| if newest { to - n } else { from + n })
    }

    fn read_file(&mut self, file: &StoreFile, run: (Seq, Seq)) -> Result<u64, StoreError> {
        let (connection, scope) = match self.open.take() {
            Some((open, connection, scope)) if open == *file => (connection, scope),
            _ => self.open_scope(file)?,
        };
        let read =
            self.introduce(&connection, file, &scope).and_then(|()| self.read_run(&connection, file, run));
        self.open = Some((file.clone(), connection, scope));
        read.inspect_err(|error| self.suspect(file, error))
    }

    fn open_scope(&self, file: &StoreFile) -> Result<(Connection, String), StoreError> {
        let connection = database::open_reader(&file.path)?;
        let lineage = read_lineage(&connection).map_err(StoreError::sql("read", &file.path));
        let lineage = lineage.inspect_err(|error| self.suspect(file, error))?;
        Ok((connection, format!("{}/{lineage}", self.shared.spool.spool_id())))
    }

    /// A damaged file that nobody writes is looked at, and what is whole of it saved.
    fn suspect(&self, file: &StoreFile, error: &StoreError) {
        if error.is_damage() && !error.is_vanished() && !self.shared.is_current(file) {
            tracing::warn!(file = %file.path.display(), error = chain(error), "it will be checked");
            self.shared.suspect(file);
        }
    }

    /// Says the scope and the definitions that were not said yet, as far as there is room.
    fn introduce(
        &mut self,
        connection: &Connection,
        file: &StoreFile,
        scope: &str,
    ) -> Result<(), StoreError> {
        if self.known.scope != scope {
            *self.known = Known { scope: scope.to_owned(), next_id: 0 };
            self.say(Frame::Scope(scope.to_owned()));
        }
        while !self.is_full() {
            let (bytes, next_id) = match file.kind {
                FileKind::Hot => {
                    let all =
                        read_entries_from(connection, &file.path, self.known.next_id, N_DEFINITIONS_MAX)?;
                    let (bytes, n) = encode_definitions(&all);
                    (bytes, all[..n].last().map(|definition| definition.id))
                }
                _ => {
                    let all = read_entities(connection, self.known.next_id, N_DEFINITIONS_MAX);
                    let all: Vec<EntityDefinition> = all.map_err(StoreError::sql("read", &file.path))?;
                    let (bytes, n) = encode_entities(&all);
                    (bytes, all[..n].last().map(|definition| definition.id))
                }
            };
            let Some(last_id) = next_id else { return Ok(()) };
            self.known.next_id = last_id.saturating_add(1);
            self.say(Frame::Definitions(bytes));
        }
        Ok(())
    }

    fn read_run(
        &mut self,
        connection: &Connection,
        file: &StoreFile,
        run: (Seq, Seq),
    ) -> Result<u64, StoreError> {
        let mut n = 0;
        for seq in self.seqs(run) {
            if self.is_full() {
                break;
            }
            let frame = match read_item(connection, file, seq) {
                // Nobody else looks into the file that is being written before its hour is over.
                Err(error) if error.is_damage() && self.shared.is_current(file) => {
                    Frame::Lost(lost_in(file, seq, "damage"))
                }
                Err(_) if n > 0 => break,
                read => read?,
            };
            self.say(frame);
            n += 1;
        }
        Ok(n)
    }

    fn read_notes(&mut self, run: (Seq, Seq)) -> Result<u64, StoreError> {
        let mut n = 0;
        let path = State::path(&self.shared.folder);
        let connection = self.take_state()?;
        for seq in self.seqs(run) {
            if self.is_full() {
                break;
            }
            let frame = match read_note(&connection, seq).map_err(StoreError::sql("read", &path)) {
                Ok(Some(item)) => Frame::Item(item),
                // Events are only ever removed by their age and number.
                Ok(None) => Frame::Lost(lost(seq, seq, "age")),
                Err(_) if n > 0 => break,
                Err(error) => return Err(error),
            };
            self.say(frame);
            n += 1;
        }
        self.state = Some(connection);
        Ok(n)
    }

    fn take_state(&mut self) -> Result<Connection, StoreError> {
        match self.state.take() {
            Some(connection) => Ok(connection),
            None => database::open_reader(&State::path(&self.shared.folder)),
        }
    }

    /// Says why some numbers are no items: as many as have the same reason.
    fn account(&mut self, run: (Seq, Seq)) -> Result<u64, StoreError> {
        let connection = self.take_state()?;
        let newest = self.ask.order == Order::Newest;
        let noted = read_lost(&connection, self.ask.stream, run, newest);
        let noted = noted.map_err(StoreError::sql("read", &State::path(&self.shared.folder)))?;
        self.state = Some(connection);
        let lost = match noted {
            Some(noted) if noted.contains(run, newest) => noted.clip(run),
            // Up to the numbers of which something was noted.
            Some(noted) if newest => self.unnoted((noted.0.to + 1, run.1))?,
            Some(noted) => self.unnoted((run.0, noted.0.from - 1))?,
            None => self.unnoted(run)?,
        };
        let n = lost.to - lost.from + 1;
        self.say(Frame::Lost(lost));
        Ok(n)
    }

    /// Numbers of which nothing was noted: they were merged, or nobody knows.
    fn unnoted(&self, (from, to): (Seq, Seq)) -> Result<Lost, StoreError> {
        let reason = if self.ask.stream == Stream::Events { "age" } else { "unknown" };
        if self.ask.stream != Stream::Metrics {
            return Ok(lost(from, to, reason));
        }
        let merged = self.shared.spool.merged(|| merged_numbers(&self.shared.folder))?;
        let unmerged = merged.missing(from, to);
        let (part, merged) = match self.ask.order {
            Order::Oldest => match unmerged.ranges().first() {
                None => ((from, to), true),
                Some((first, last)) if *first == from => ((from, *last), false),
                Some((first, _)) => ((from, first - 1), true),
            },
            Order::Newest => match unmerged.ranges().last() {
                None => ((from, to), true),
                Some((first, last)) if *last == to => ((*first, to), false),
                Some((_, last)) => ((last + 1, to), true),
            },
        };
        Ok(lost(part.0, part.1, if merged { "merged" } else { reason }))
    }
}

/// Reads one item, whose meaning the caller need not know.
pub(super) fn one_item(shared: &Shared, stream: Stream, seq: Seq) -> Result<Option<Item>, StoreError> {
    let path = State::path(&shared.folder);
    match shared.spool.locate(stream, (seq, seq), false) {
        Place::File(file, _) => match database::open_reader(&file.path) {
            // It was merged or let go meanwhile.
            Err(error) if error.is_vanished() => Ok(None),
            opened => Ok(match read_item(&opened?, &file, seq)? {
                Frame::Item(item) => Some(item),
                _ => None,
            }),
        },
        Place::Notes(_) => {
            read_note(&database::open_reader(&path)?, seq).map_err(StoreError::sql("read", &path))
        }
        Place::Nowhere(_) => Ok(None),
    }
}

fn lost(from: Seq, to: Seq, reason: &str) -> Lost {
    Lost { from, to, from_ms: 0, to_ms: 0, n_samples: 0, reason: reason.to_owned() }
}

fn lost_in(file: &StoreFile, seq: Seq, reason: &str) -> Lost {
    Lost { from_ms: file.begin_ms(), to_ms: file.end_ms(), ..lost(seq, seq, reason) }
}

/// Reads one item; one whose checksum is wrong is lost, and never sent.
fn read_item(connection: &Connection, file: &StoreFile, seq: Seq) -> Result<Frame, StoreError> {
    let read = match file.kind {
        FileKind::Hot => read_window(connection, seq),
        _ => read_table(connection, seq),
    };
    let found = read.map_err(StoreError::sql("read", &file.path))?;
    Ok(match found {
        Some((item, true)) => Frame::Item(item),
        Some((Item { from_ms, to_ms, n_samples, .. }, false)) => {
            Frame::Lost(Lost { from_ms, to_ms, n_samples, ..lost(seq, seq, "damage") })
        }
        None => Frame::Lost(lost_in(file, seq, "unknown")),
    })
}

/// The item, and whether its checksum is right.
type Checked = Option<(Item, bool)>;

fn read_window(connection: &Connection, seq: Seq) -> rusqlite::Result<Checked> {
    let sql = "SELECT from_ms, to_ms, n_samples, crc, blob FROM windows WHERE seq = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([seq as i64], |row| {
        let (crc, blob): (i64, Vec<u8>) = (row.get(3)?, row.get(4)?);
        let checksum = checksum(&blob);
        let n_samples = row.get::<_, i64>(2)?.max(0) as u64;
        let item = Item { seq, from_ms: row.get(0)?, to_ms: row.get(1)?, n_samples, checksum, blob };
        Ok((item, i64::from(checksum) == crc))
    });
    found.optional()
}

fn read_table(connection: &Connection, seq: Seq) -> rusqlite::Result<Checked> {
    let sql = "SELECT key, chain, to_ms, n_rows, crc, blob FROM blobs WHERE seq = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([seq as i64], |row| {
        let (key, chain, crc): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(4)?);
        let sealed = row.get_ref(5)?.as_blob()?;
        let good = i64::from(checksum(sealed)) == crc;
        // The kind is said by the key.
        let kind = fieldpost_model::TableKind::Processes;
        let blob = encode_table_blob(&TableBlob { kind, key, chain, blob: sealed });
        let n_samples = row.get::<_, i64>(3)?.max(0) as u64;
        let (from_ms, to_ms) = (key >> 1, row.get(2)?);
        Ok((Item { seq, from_ms, to_ms, n_samples, checksum: checksum(&blob), blob }, good))
    });
    found.optional()
}

fn read_note(connection: &Connection, seq: Seq) -> rusqlite::Result<Option<Item>> {
    let (note, from_ms, to_ms): (Note, TimeMs, TimeMs) = match read_event(connection, seq)? {
        Some(event) => {
            let time_ms = event.time_ms;
            (Note::Event(event), time_ms, time_ms.saturating_add(1))
        }
        None => match read_gap(connection, seq)? {
            Some(gap) => {
                let (from_ms, to_ms) = (gap.from_ms, gap.to_ms);
                (Note::Gap(gap), from_ms, to_ms)
            }
            None => return Ok(None),
        },
    };
    let blob = encode_note(&note);
    Ok(Some(Item { seq, from_ms, to_ms, n_samples: 1, checksum: checksum(&blob), blob }))
}

/// What was noted of lost items.
struct Noted(Lost);

impl Noted {
    /// Is it about the number from which on is answered?
    fn contains(&self, (from, to): (Seq, Seq), newest: bool) -> bool {
        let edge = if newest { to } else { from };
        (self.0.from..=self.0.to).contains(&edge)
    }

    /// The part of it within a run. Its samples are counted where its last number is.
    fn clip(self, (from, to): (Seq, Seq)) -> Lost {
        let Noted(whole) = self;
        let n_samples = if whole.to <= to { whole.n_samples } else { 0 };
        Lost { from: whole.from.max(from), to: whole.to.min(to), n_samples, ..whole }
    }
}

/// The first note that is about numbers of a run, or the last one.
fn read_lost(
    connection: &Connection,
    stream: Stream,
    (from, to): (Seq, Seq),
    newest: bool,
) -> rusqlite::Result<Option<Noted>> {
    let order = if newest { "seq_to DESC" } else { "seq_from" };
    let sql = format!(
        "SELECT seq_from, seq_to, from_ms, to_ms, n_samples, reason FROM lost
         WHERE stream = ?1 AND seq_from <= ?3 AND seq_to >= ?2 ORDER BY {order} LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let count = |row: &rusqlite::Row<'_>, at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.max(0) as u64);
    let found = statement.query_row(params![stream.as_str(), from as i64, to as i64], |row| {
        Ok(Noted(Lost {
            from: count(row, 0)?,
            to: count(row, 1)?,
            from_ms: row.get(2)?,
            to_ms: row.get(3)?,
            n_samples: count(row, 4)?,
            reason: row.get(5)?,
        }))
    });
    found.optional()
}

/// How often a folder is listed anew, because files went while they were read.
const N_LOOKS_MAX: usize = 10;

/// Numbers of all windows that are in merged files.
pub(crate) fn merged_numbers(folder: &std::path::Path) -> Result<Intervals, StoreError> {
    let mut n_looks = 1;
    loop {
        match merged_into_any(&folder::list(folder)?) {
            // It went into a file of its day meanwhile, or was let go.
            Err(error) if error.is_vanished() && n_looks < N_LOOKS_MAX => n_looks += 1,
            looked => return looked,
        }
    }
}

fn merged_into_any(files: &[StoreFile]) -> Result<Intervals, StoreError> {
    let mut all = Intervals::default();
    for file in files {
        match numbers_merged_into(file) {
            Ok(numbers) => all.union(&numbers),
            // What is damaged says nothing; the numbers are lost for an unknown reason.
            Err(error) if error.is_damage() && !error.is_vanished() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Numbers of the windows that were merged into a file.
pub(crate) fn numbers_merged_into(file: &StoreFile) -> Result<Intervals, StoreError> {
    let mut all = Intervals::default();
    if !matches!(file.kind, FileKind::Hour | FileKind::Day) {
        return Ok(all);
    }
    let connection = open_file(file)?;
    let read = || {
        let mut statement = connection.prepare("SELECT ranges FROM numbers")?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    for ranges in read().map_err(StoreError::sql("read", &file.path))? {
        let ranges = decode_intervals(&ranges);
        let ranges = ranges.map_err(|source| StoreError::Blob { path: file.path.clone(), source })?;
        all.union(&ranges);
    }
    Ok(all)
}
