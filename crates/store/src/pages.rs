//! Rows out of the pages of a damaged SQLite file and its log, without SQLite: every page that
//! looks like a leaf of a table is read on its own, so that a bad page costs what is on it. It
//! checks nothing: whoever takes the rows says which are whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::PAGE_BYTES;

const PAGE: usize = PAGE_BYTES as usize;
/// First byte of a page with rows, and of one that leads to such pages.
const LEAF: u8 = 0x0d;
const INTERIOR: u8 = 0x05;
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// A value of a row; what is no whole number and no bytes reads as nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Nothing,
    Integer(i64),
    Bytes(Vec<u8>),
}

/// A row of some table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) rowid: i64,
    pub(crate) cells: Vec<Cell>,
}

/// What reading all pages came to, beside the rows.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Highest rowid of a row that was refused.
    pub(crate) refused: Option<i64>,
    /// The last page of some table is damaged: rows after the last one are missing, too.
    pub(crate) tail_lost: bool,
}

/// All versions of all pages, the newest first.
pub(crate) struct Pages<'a> {
    versions: BTreeMap<u32, Vec<&'a [u8]>>,
}

impl<'a> Pages<'a> {
    /// Of a file and of its log. Frames of an earlier round of the log are the last resort.
    pub(crate) fn new(file: &'a [u8], log: &'a [u8]) -> Self {
        let mut versions: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
        let salts = log.get(16..24);
        let body = log.get(WAL_HEADER_BYTES..).unwrap_or_default();
        let frames: Vec<_> = body.chunks_exact(FRAME_HEADER_BYTES + PAGE).collect();
        let mut put = |number: u32, page: &'a [u8]| versions.entry(number).or_default().push(page);
        let (new, old): (Vec<&[u8]>, Vec<_>) =
            frames.into_iter().rev().partition(|frame| frame.get(8..16) == salts);
        for frame in new {
            put(word(frame, 0).unwrap_or(0), &frame[FRAME_HEADER_BYTES..]);
        }
        for (page, number) in file.chunks_exact(PAGE).zip(1..) {
            put(number, page);
        }
        for frame in old {
            put(word(frame, 0).unwrap_or(0), &frame[FRAME_HEADER_BYTES..]);
        }
        Self { versions }
    }

    /// Hands over each row of each version of each page, the newest first, until it is accepted.
    pub(crate) fn rows(&self, mut accept: impl FnMut(&Row) -> bool) -> Scan {
        let (mut scan, mut good, mut last_pages) = (Scan::default(), BTreeSet::new(), Vec::new());
        for (&number, versions) in &self.versions {
            // The first page holds the names of the tables, behind a header of its own.
            for (age, page) in versions.iter().enumerate().filter(|_| number > 1) {
                let whole = match page.first() {
                    Some(&LEAF) => self.leaf(page, &mut scan, &mut accept),
                    Some(&INTERIOR) => word(page, 8).is_some_and(|last| {
                        last_pages.extend((age == 0).then_some(last));
                        true
                    }),
                    _ => false,
                };
                if whole && age == 0 {
                    good.insert(number);
                }
            }
        }
        scan.tail_lost = last_pages.iter().any(|number| !good.contains(number));
        scan
    }

    fn leaf(&self, page: &[u8], scan: &mut Scan, accept: &mut impl FnMut(&Row) -> bool) -> bool {
        let n_cells = page[3..5].iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let mut whole = true;
        for pointer in page[8..].chunks_exact(2).take(n_cells) {
            let at = usize::from(pointer[0]) << 8 | usize::from(pointer[1]);
            let Some((size, rowid, start)) = cell_head(page, at) else {
                whole = false;
                continue;
            };
            let accepted = [false, true].into_iter().any(|oldest| {
                let payload = self.payload(page, start, size, oldest);
                payload.and_then(|payload| row(rowid, &payload)).is_some_and(|row| accept(&row))
            });
            if !accepted {
                scan.refused = scan.refused.max(Some(rowid));
            }
            whole &= accepted;
        }
        whole
    }

    /// The bytes of a row, those on overflow pages included.
    fn payload(&self, page: &[u8], start: usize, size: usize, oldest: bool) -> Option<Vec<u8>> {
        let on_page = bytes_on_page(size);
        let mut payload = page.get(start..start + on_page)?.to_vec();
        if on_page == size {
            return Some(payload);
        }
        let mut next = word(page, start + on_page)?;
        while payload.len() < size {
            let versions = self.versions.get(&next)?;
            let page = if oldest { versions.last()? } else { versions.first()? };
            next = word(page, 0)?;
            let part = (size - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(page.get(4..4 + part)?);
        }
        Some(payload)
    }
}

/// How much of a row of this size is on its own page, by the file format's rule.
fn bytes_on_page(size: usize) -> usize {
    let (most, least) = (PAGE - 35, (PAGE - 12) * 32 / 255 - 23);
    if size <= most {
        return size;
    }
    let even = least + (size - least) % (PAGE - 4);
    if even <= most { even } else { least }
}

fn cell_head(page: &[u8], at: usize) -> Option<(usize, i64, usize)> {
    let (size, after_size) = varint(page, at)?;
    let (rowid, start) = varint(page, after_size)?;
    let size = usize::try_from(size).ok().filter(|size| *size <= crate::codec::UNPACKED_BYTES_MAX)?;
    Some((size, rowid as i64, start))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// SQLite's own kind: seven bits a byte, highest first, eight in a ninth byte.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for n in 0..9 {
        let byte = *bytes.get(at + n)?;
        if n == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + n + 1));
        }
    }
    None
}

/// A row from its bytes: a head of types, then the values.
fn row(rowid: i64, payload: &[u8]) -> Option<Row> {
    let (head_size, mut at) = varint(payload, 0)?;
    let head_size = usize::try_from(head_size).ok()?;
    let mut value_at = head_size;
    let mut cells = Vec::new();
    while at < head_size {
        let (code, after) = varint(payload, at)?;
        at = after;
        let size = match code {
            0 | 8 | 9 => 0,
            1..=4 => code as usize,
            5 => 6,
            6 | 7 => 8,
            _ => usize::try_from((code.checked_sub(12)?) / 2).ok()?,
        };
        let bytes = payload.get(value_at..value_at.checked_add(size)?)?;
        value_at += size;
        let signed = |bytes: &[u8]| {
            let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
            bytes.iter().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte))
        };
        cells.push(match code {
            0 | 7 => Cell::Nothing,
            8 | 9 => Cell::Integer(code as i64 - 8),
            1..=6 => Cell::Integer(signed(bytes)),
            _ => Cell::Bytes(bytes.to_vec()),
        });
    }
    Some(Row { rowid, cells })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::{Connection, params};

    use super::*;

    #[test]
    fn rows_of_every_size_are_read_as_sqlite_wrote_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let connection = Connection::open(&path).unwrap();
        let schema = "PRAGMA page_size=2048; CREATE TABLE t (id INTEGER PRIMARY KEY, n, blob)";
        connection.execute_batch(schema).unwrap();
        let numbers = [0, 1, -1, 200, -40_000, 1 << 20, 1 << 40, i64::MIN];
        for (id, size) in
            [0, 1, 500, 2_000, 2_013, 2_014, 2_050, 4_100, 9_000, 70_000].into_iter().enumerate()
        {
            let row = params![id as i64, numbers[id % numbers.len()], vec![id as u8; size]];
            connection.execute("INSERT INTO t VALUES (?1, ?2, ?3)", row).unwrap();
        }
        connection.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut sizes = Vec::new();
        let scan = Pages::new(&bytes, &[]).rows(|row| {
            let [Cell::Nothing, Cell::Integer(n), Cell::Bytes(blob)] = &row.cells[..] else { return false };
            assert_eq!(*n, numbers[row.rowid as usize % numbers.len()]);
            assert!(blob.iter().all(|byte| i64::from(*byte) == row.rowid));
            sizes.push(blob.len());
            true
        });
        sizes.sort_unstable();
        assert_eq!(sizes, [0, 1, 500, 2_000, 2_013, 2_014, 2_050, 4_100, 9_000, 70_000]);
        assert!(!scan.tail_lost && scan.refused.is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_pages_never_panic(
            kind in prop_oneof![Just(LEAF), Just(INTERIOR), any::<u8>()],
            pages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), PAGE), 0..4),
        ) {
            let mut file: Vec<u8> = pages.concat();
            for page in file.chunks_exact_mut(PAGE) {
                page[0] = kind;
            }
            Pages::new(&file, &file[..file.len() / 2]).rows(|_| false);
        }
    }
}
