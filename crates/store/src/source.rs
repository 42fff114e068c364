//! One file of samples as a reader sees it: opened, its series looked up, its windows or rows
//! unpacked as far as they are asked for.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use fieldpost_model::{Selector, TimeMs, is_absent};
use rusqlite::{Connection, params};

use crate::calendar::{DAY_HOURS, HOUR_MS};
use crate::codec::{CodecError, IdGroup, checksum, decode_window};
use crate::config::WINDOW_MS_MAX;
use crate::dictionary::{Entry, read_entries};
use crate::folder::{FileKind, StoreFile};
use crate::reader::{Each, RollupAnswer, Samples, StoredSeries};
use crate::rollup::Parts;
use crate::rows::{GROUP_SIZE, RowReader, Table, read_hours};
use crate::writer::chain;
use crate::{StoreError, database};

/// A damaged file is left out, and said to be; everything else is still answered.
pub(crate) fn skip_damage<T>(path: &Path, outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Err(error) if error.is_unmade() => Ok(None),
        Err(error) if error.is_damage() => {
            tracing::warn!(file = %path.display(), error = chain(&error), "a damaged file is left out");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

/// All series that a file of windows or rows describes.
pub(crate) fn entries_of(file: &StoreFile) -> Result<Vec<Entry>, StoreError> {
    if !is_raw(file.kind) {
        return Ok(Vec::new());
    }
    read_entries(&open_file(file)?, &file.path)
}

pub(crate) fn open_file(file: &StoreFile) -> Result<Connection, StoreError> {
    if file.kind == FileKind::Hot {
        database::open_reader(&file.path)
    } else {
        database::open_finished(&file.path)
    }
}

pub(crate) fn is_raw(kind: FileKind) -> bool {
    matches!(kind, FileKind::Hot | FileKind::Hour | FileKind::Day)
}

/// May the file hold samples of this span? A window begins in its hour, and may end after it.
pub(crate) fn touches(file: &StoreFile, from_ms: TimeMs, to_ms: TimeMs) -> bool {
    let slack = WINDOW_MS_MAX;
    file.end_ms() > from_ms.saturating_sub(slack) && file.begin_ms() < to_ms.saturating_add(slack)
}

pub(crate) fn hour_touches(hour: i64, from_ms: TimeMs, to_ms: TimeMs) -> bool {
    let begin = hour * HOUR_MS;
    let slack = WINDOW_MS_MAX;
    begin + HOUR_MS > from_ms.saturating_sub(slack) && begin < to_ms.saturating_add(slack)
}

/// First instant of the windows of a hot file and first after them, if there are any.
pub(crate) fn hot_span(file: &StoreFile) -> Result<Option<(TimeMs, TimeMs)>, StoreError> {
    let connection = database::open_reader(&file.path)?;
    let sql = "SELECT min(from_ms), max(to_ms) FROM windows";
    let answer = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (from_ms, to_ms): (Option<_>, Option<_>) = answer.map_err(StoreError::sql("read", &file.path))?;
    Ok(from_ms.zip(to_ms))
}

/// Sorts samples by time; of several at one instant the one that came last stays.
pub(crate) fn settle(samples: &mut Samples) {
    if samples.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return;
    }
    samples.reverse();
    samples.sort_by_key(|(time_ms, _)| *time_ms);
    samples.dedup_by_key(|(time_ms, _)| *time_ms);
}

pub(crate) fn accepted_by(selector: &Selector, entry: &Entry) -> bool {
    let label = |name: &str| entry.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    selector.accepts(&format!("{}{}", entry.family.name, entry.suffix), label)
}

/// What one hour has of the series that were asked for.
pub(crate) struct Piece<'a> {
    pub(crate) accepts: &'a dyn Fn(&Entry) -> bool,
    pub(crate) from_ms: TimeMs,
    pub(crate) to_ms: TimeMs,
    pub(crate) found: BTreeMap<String, (StoredSeries, Samples)>,
}

impl Piece<'_> {
    fn add(&mut self, series: &StoredSeries, samples: impl Iterator<Item = (TimeMs, f64)>) {
        let span = self.from_ms..self.to_ms;
        let mut wanted =
            samples.filter(|(time_ms, value)| span.contains(time_ms) && !is_absent(*value)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        if !self.found.contains_key(&series.text) {
            self.found.insert(series.text.clone(), (series.clone(), Vec::new()));
        }
        if let Some((_, all)) = self.found.get_mut(&series.text) {
            all.extend(wanted);
        }
    }

    pub(crate) fn hand_over(self, each: Each<'_>) {
        for (_, (mut series, mut samples)) in self.found {
            settle(&mut samples);
            if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
                (series.first_ms, series.last_ms) = (first.0, last.0);
                each(&series, &samples);
            }
        }
    }
}

/// An opened file of samples, for one question.
pub(crate) struct Source {
    pub(crate) file: StoreFile,
    connection: Connection,
    entries: Vec<Entry>,
    /// Found at the first hour that is read: asking every series again for each of a day's hours
    /// would take longer than reading them.
    wanted: OnceCell<HashMap<u32, StoredSeries>>,
}

impl Source {
    pub(crate) fn open(file: StoreFile) -> Result<Self, StoreError> {
        let connection = open_file(&file)?;
        let entries = read_entries(&connection, &file.path)?;
        Ok(Self { file, connection, entries, wanted: OnceCell::new() })
    }

    /// Hands over the series that it describes.
    pub(crate) fn named(&self, accepts: &dyn Fn(&Entry) -> bool, each: &mut dyn FnMut(&StoredSeries)) {
        self.entries.iter().filter(|entry| accepts(entry)).for_each(|entry| each(&stored_series(entry)));
    }

    fn wanted(&self, accepts: &dyn Fn(&Entry) -> bool) -> &HashMap<u32, StoredSeries> {
        self.wanted.get_or_init(|| {
            let accepted = self.entries.iter().filter(|entry| accepts(entry));
            accepted.map(|entry| (entry.id, stored_series(entry))).collect()
        })
    }

    pub(crate) fn read_hour(&self, hour: i64, piece: &mut Piece<'_>) -> Result<(), StoreError> {
        match self.file.kind {
            FileKind::Hot if self.file.hour == hour => self.read_windows(piece),
            FileKind::Hour if self.file.hour == hour => self.read_rows(hour, piece),
            FileKind::Day => self.read_rows(hour, piece),
            _ => Ok(()),
        }
    }

    fn read_rows(&self, hour: i64, piece: &mut Piece<'_>) -> Result<(), StoreError> {
        let wanted = self.wanted(piece.accepts);
        let groups: BTreeSet<u32> = wanted.keys().map(|id| id / GROUP_SIZE).collect();
        let mut reader = RowReader::new(&self.connection, &self.file.path, Table::Raw);
        for group in groups {
            let slot = hour.rem_euclid(DAY_HOURS);
            reader.read(
                group,
                slot,
                |id| wanted.contains_key(&id),
                |id, _, samples| {
                    piece.add(&wanted[&id], samples);
                },
            )?;
        }
        Ok(())
    }

    pub(crate) fn read_rollups(&self, selector: &Selector, all: &mut RollupAnswer) -> Result<(), StoreError> {
        let wanted = self.wanted(&|entry: &Entry| accepted_by(selector, entry));
        let groups: BTreeSet<u32> = wanted.keys().map(|id| id / GROUP_SIZE).collect();
        let mut reader = RowReader::new(&self.connection, &self.file.path, Table::Rollup);
        for (slot, _) in read_hours(&self.connection, &self.file.path)? {
            for group in &groups {
                let mut parts: BTreeMap<u32, Parts> = BTreeMap::new();
                reader.read(
                    *group,
                    slot,
                    |id| wanted.contains_key(&id),
                    |id, part, samples| {
                        parts.entry(id).or_default().add(part, samples);
                    },
                )?;
                for (id, parts) in parts {
                    all.add(&wanted[&id], parts.rollups());
                }
            }
        }
        Ok(())
    }

    fn read_windows(&self, piece: &mut Piece<'_>) -> Result<(), StoreError> {
        let wanted = self.wanted(piece.accepts);
        if wanted.is_empty() {
            return Ok(());
        }
        let (from_ms, to_ms) = (piece.from_ms, piece.to_ms);
        each_window(&self.connection, &self.file.path, from_ms, to_ms, |groups| {
            for group in groups.unwrap_or_default() {
                for (position, id) in group.ids.iter().enumerate() {
                    if let Some(series) = wanted.get(id) {
                        let times = group.times_ms.iter().copied();
                        piece.add(series, times.zip(group.column(position).iter().copied()));
                    }
                }
            }
        })
    }
}

/// Hands over the windows of a hot file that touch a span, in the order in which they came.
pub(crate) fn each_window(
    connection: &Connection,
    path: &Path,
    from_ms: TimeMs,
    to_ms: TimeMs,
    mut each: impl FnMut(Result<Vec<IdGroup>, CodecError>),
) -> Result<(), StoreError> {
    let failed = || StoreError::sql("read", path);
    let sql = "SELECT crc, blob FROM windows WHERE to_ms > ?1 AND from_ms < ?2 ORDER BY seq";
    let mut statement = connection.prepare(sql).map_err(failed())?;
    let mut rows = statement.query(params![from_ms, to_ms]).map_err(failed())?;
    while let Some(row) = rows.next().map_err(failed())? {
        let crc: i64 = row.get(0).map_err(failed())?;
        let blob = row.get_ref(1).map_err(failed())?.as_blob().unwrap_or_default();
        let good = i64::from(checksum(blob)) == crc;
        each(if good { decode_window(blob) } else { Err(CodecError::Checksum) });
    }
    Ok(())
}

fn stored_series(entry: &Entry) -> StoredSeries {
    StoredSeries {
        name: format!("{}{}", entry.family.name, entry.suffix),
        family: entry.family.name.to_string(),
        kind: entry.family.kind,
        help: entry.family.help.to_string(),
        labels: entry.labels.clone(),
        text: entry.text(),
        first_ms: 0,
        last_ms: 0,
    }
}
