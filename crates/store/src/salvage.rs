//! What can still be read of a damaged hot file goes into a new one of the same name: a bad page
//! costs the windows on it, not the hour. Each window is checked by its own checksum.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use fieldpost_model::{Family, TimeMs, is_absent};
use rusqlite::params;

use crate::codec::{IdGroup, checksum, decode_window, encode_window};
use crate::config::WINDOW_MS_MAX;
use crate::dictionary::{DictionaryWriter, Entry, kind_of, read_labels};
use crate::folder::{self, StoreFile, beside, sync_folder};
use crate::pages::{Cell, Pages, Row};
use crate::source::entries_of;
use crate::state::{Gap, GapReason};
use crate::{StoreError, database};

/// A file of an hour holds no more windows than this, one a second and late ones included.
const N_SEQS_MAX: i64 = 100_000;
/// A larger file is not read into memory to be salvaged.
const BYTES_MAX: u64 = 256 << 20;

/// What was read out of a damaged file, written but not yet in its place.
pub(crate) struct Salvage {
    file: StoreFile,
    /// Windows that were found whole.
    pub(crate) n_windows: usize,
    /// Where windows are missing between those that were found.
    pub(crate) gaps: Vec<Gap>,
}

impl Salvage {
    /// Reads what is whole in a hot file and writes it beside it; nothing where nothing is whole.
    /// Windows from `before_seq` on are left out: whoever had them open writes them again.
    pub(crate) fn read(
        file: &StoreFile,
        before_seq: i64,
        now_ms: TimeMs,
    ) -> Result<Option<Self>, StoreError> {
        if file.bytes() > BYTES_MAX {
            return Ok(None);
        }
        let read = |path: &Path| std::fs::read(path).map_err(StoreError::io("read", path));
        let bytes = read(&file.path)?;
        let log = read(&beside(&file.path, "-wal")).unwrap_or_default();
        let seqs = file.seq..before_seq.min(file.seq.saturating_add(N_SEQS_MAX));
        let mut found = Found { seqs, ..Found::default() };
        let scan = Pages::new(&bytes, &log).rows(|row| found.take(row));
        let Some((&last_seq, last)) = found.windows.last_key_value() else { return Ok(None) };
        let tail_lost =
            scan.tail_lost || scan.refused.is_some_and(|seq| found.seqs.contains(&seq) && seq > last_seq);
        let last_ms = last.to_ms;
        let mut gaps = found.gaps(file);
        let end_ms = file.end_ms().min(now_ms.max(last_ms));
        if tail_lost && end_ms > last_ms {
            gaps.push(damage(last_ms, end_ms, 0));
        }
        let entries = found.entries(file)?;
        found.drop_unknown(&entries, &mut gaps);
        let n_windows = found.windows.len();
        found.write(&temporary(file), &entries)?;
        Ok(Some(Self { file: file.clone(), n_windows, gaps }))
    }

    /// Puts the new file where the damaged one was, which has been moved away.
    pub(crate) fn put_in_place(&self) -> Result<(), StoreError> {
        let temporary = temporary(&self.file);
        std::fs::rename(&temporary, &self.file.path).map_err(StoreError::io("rename", &temporary))?;
        sync_folder(self.file.path.parent().unwrap_or(Path::new("/")))
    }
}

fn temporary(file: &StoreFile) -> std::path::PathBuf {
    beside(&file.path, ".tmp")
}

fn damage(from_ms: TimeMs, to_ms: TimeMs, n_samples: u64) -> Gap {
    Gap { from_ms, to_ms, n_samples, reason: GapReason::Damage }
}

struct FoundWindow {
    from_ms: TimeMs,
    to_ms: TimeMs,
    groups: Vec<IdGroup>,
}

impl FoundWindow {
    fn n_samples(&self) -> u64 {
        let values = self.groups.iter().flat_map(|group| &group.values);
        values.filter(|value| !is_absent(**value)).count() as u64
    }
}

type FoundSeries = (i64, String, Vec<(String, String)>);

#[derive(Default)]
struct Found {
    seqs: std::ops::Range<i64>,
    windows: BTreeMap<i64, FoundWindow>,
    families: BTreeMap<i64, Family>,
    /// Number of the family, suffix, labels.
    series: BTreeMap<i64, FoundSeries>,
    /// Numbers that two series claim.
    disputed: BTreeSet<i64>,
}

impl Found {
    /// Takes a row in; answers whether it is one of ours and whole.
    fn take(&mut self, row: &Row) -> bool {
        use Cell::{Bytes, Integer, Nothing};
        match &row.cells[..] {
            [Nothing, Integer(from_ms), Integer(to_ms), Integer(_), Integer(crc), Bytes(blob)] => {
                i64::from(checksum(blob)) == *crc && self.take_window(row.rowid, *from_ms, *to_ms, blob)
            }
            [Nothing, Integer(family), Bytes(suffix), Bytes(labels)] => {
                let (Ok(suffix), Ok(labels)) = (std::str::from_utf8(suffix), read_labels(labels)) else {
                    return false;
                };
                let series = (*family, suffix.to_owned(), labels);
                let known = self.series.entry(row.rowid).or_insert_with(|| series.clone());
                if *known != series {
                    self.disputed.insert(row.rowid);
                }
                true
            }
            [Nothing, Bytes(name), Integer(kind), Bytes(help)] => {
                let (Ok(name), Ok(help)) = (std::str::from_utf8(name), std::str::from_utf8(help)) else {
                    return false;
                };
                let family = Family { name: name.into(), help: help.into(), kind: kind_of(*kind) };
                self.families.entry(row.rowid).or_insert(family);
                true
            }
            _ => false,
        }
    }

    /// The checksum is that of the blob alone: what stands beside it is believed if it fits.
    fn take_window(&mut self, seq: i64, from_ms: TimeMs, to_ms: TimeMs, blob: &[u8]) -> bool {
        if self.windows.contains_key(&seq) {
            return true;
        }
        let Ok(groups) = decode_window(blob) else { return false };
        if !self.seqs.contains(&seq) {
            return false;
        }
        let times = || groups.iter().flat_map(|group| &group.times_ms).copied();
        let (first, last) = (times().min().unwrap_or(from_ms), times().max().unwrap_or(from_ms));
        let fits = from_ms <= first
            && last < to_ms
            && first - from_ms < WINDOW_MS_MAX
            && to_ms - last <= WINDOW_MS_MAX;
        let (from_ms, to_ms) = if fits { (from_ms, to_ms) } else { (first, last.saturating_add(1)) };
        self.windows.insert(seq, FoundWindow { from_ms, to_ms, groups });
        true
    }

    /// Where numbers are missing, windows are.
    fn gaps(&self, file: &StoreFile) -> Vec<Gap> {
        let (mut gaps, mut next_seq, mut end_ms) = (Vec::new(), file.seq, file.begin_ms());
        for (&seq, window) in &self.windows {
            if seq > next_seq {
                // Late windows are not in the order of time: then the hour has the gap.
                let in_order = end_ms < window.from_ms;
                let (from_ms, to_ms) =
                    if in_order { (end_ms, window.from_ms) } else { (file.begin_ms(), file.end_ms()) };
                gaps.push(damage(from_ms, to_ms, 0));
            }
            (next_seq, end_ms) = (seq + 1, window.to_ms);
        }
        gaps
    }

    /// The series that are known for sure; other files of the day give them the same numbers.
    fn entries(&self, file: &StoreFile) -> Result<Vec<Entry>, StoreError> {
        let mut by_id: BTreeMap<u32, Entry> = BTreeMap::new();
        for (id, (family, suffix, labels)) in &self.series {
            let (Ok(id), Some(family)) = (u32::try_from(*id), self.families.get(family)) else { continue };
            if !self.disputed.contains(&i64::from(id)) {
                let (family, suffix, labels) = (family.clone(), suffix.clone(), labels.clone());
                by_id.insert(id, Entry { id, family, suffix, labels });
            }
        }
        let files = folder::list(file.path.parent().unwrap_or(Path::new("/")))?;
        for other in files.iter().filter(|other| other.day() == file.day() && *other != file) {
            // A file that cannot be read now has no say.
            for entry in entries_of(other).unwrap_or_default() {
                by_id.insert(entry.id, entry);
            }
        }
        let used: HashSet<u32> = self
            .windows
            .values()
            .flat_map(|window| &window.groups)
            .flat_map(|group| &group.ids)
            .copied()
            .collect();
        let mut texts = HashSet::new();
        by_id.retain(|id, entry| used.contains(id) && texts.insert(entry.text()));
        Ok(by_id.into_values().collect())
    }

    /// Columns whose series nobody can name are gone: their numbers may be given to others.
    fn drop_unknown(&mut self, entries: &[Entry], gaps: &mut Vec<Gap>) {
        let known: HashSet<u32> = entries.iter().map(|entry| entry.id).collect();
        for window in self.windows.values_mut() {
            if window.groups.iter().flat_map(|group| &group.ids).all(|id| known.contains(id)) {
                continue;
            }
            let n_before = window.n_samples();
            for group in &mut window.groups {
                let kept: Vec<usize> =
                    (0..group.ids.len()).filter(|position| known.contains(&group.ids[*position])).collect();
                let values = kept.iter().flat_map(|position| group.column(*position)).copied().collect();
                let ids = kept.iter().map(|position| group.ids[*position]).collect();
                *group = IdGroup { times_ms: std::mem::take(&mut group.times_ms), ids, values };
            }
            gaps.push(damage(window.from_ms, window.to_ms, n_before - window.n_samples()));
        }
    }

    fn write(&self, path: &Path, entries: &[Entry]) -> Result<(), StoreError> {
        let failed = || StoreError::sql("write", path);
        let connection = database::open_fresh(path, include_str!("sql/hot.sql"))?;
        let write = || {
            connection.execute_batch("BEGIN")?;
            let mut writer = DictionaryWriter::default();
            for entry in entries {
                writer.put(&connection, entry)?;
            }
            for (seq, window) in &self.windows {
                let columns = window.groups.iter().map(|g| (&g.times_ms[..], &g.ids[..], &g.values[..]));
                let blob = encode_window(columns);
                let mut statement =
                    connection.prepare_cached("INSERT INTO windows VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
                let n_samples = window.n_samples() as i64;
                let row = params![seq, window.from_ms, window.to_ms, n_samples, checksum(&blob), blob];
                statement.execute(row)?;
            }
            connection.execute_batch("COMMIT")
        };
        write().map_err(failed())?;
        connection.close().map_err(|(_, error)| failed()(error))?;
        let file = std::fs::File::open(path).map_err(StoreError::io("open", path))?;
        file.sync_all().map_err(StoreError::io("sync", path))
    }
}
