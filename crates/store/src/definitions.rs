//! What an agent says about the numbers in its items, so that another store understands them:
//! series by their ids, entities of the tables by theirs, and the events themselves. One coding
//! for both ends of the link and for the hub's files; whatever the bytes are, decoding ends,
//! takes a bounded amount of memory and never panics.
//!
//! Plain layout, before zstd: version, what follows, then entries until the end. A family is said
//! once in each blob: families get numbers from 1 in the order in which they come, and a series
//! names the number of its own, 0 for a new one that follows.

use std::sync::Arc;

use fieldpost_model::{Entity, Event, Family, TableKind, TimeMs};

use crate::codec::{CodecError, Cursor, pack, put_signed, put_text, put_varint, unpack_at_most};
use crate::dictionary::{kind_code, kind_of};
use crate::state::{event_word, parse_event_word};

/// Bump it when the layout changes, and keep reading the old one.
const VERSION: u8 = 1;
/// What follows: series.
const OF_SERIES: u8 = 1;
/// What follows: entities.
const OF_ENTITIES: u8 = 2;
/// What follows: events.
const OF_EVENTS: u8 = 3;
const ZSTD_LEVEL: i32 = 3;
/// Plain bytes after which the encoder begins another blob.
const PLAIN_BYTES_GOAL: usize = 256 << 10;
/// Entries after which the encoder begins another blob.
const N_ENTRIES_GOAL: usize = 4_096;
/// The most plain bytes of one blob that a decoder takes.
pub const PLAIN_BYTES_MAX: usize = 8 << 20;
/// The most entries of one blob that a decoder takes.
pub const N_ENTRIES_MAX: usize = 65_536;
/// The most labels of one series that a decoder takes.
pub const N_LABELS_MAX: usize = 1_000;

/// A series by its number within a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesDefinition {
    /// Its number.
    pub id: u32,
    /// The family it belongs to.
    pub family: Arc<Family>,
    /// What follows the family's name in its own: mostly nothing.
    pub suffix: String,
    /// Names and values, in the order in which they are shown.
    pub labels: Vec<(String, String)>,
}

/// An entity of the tables by its number within a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityDefinition {
    /// Its number.
    pub id: u32,
    /// In which table it has rows.
    pub kind: TableKind,
    /// What does not change about it.
    pub entity: Entity,
}

/// Encodes series into as many blobs as keep each one small.
pub fn encode_series<'a>(definitions: impl IntoIterator<Item = &'a SeriesDefinition>) -> Vec<Vec<u8>> {
    let mut blobs = Blobs::new(OF_SERIES);
    let mut families: Vec<&Arc<Family>> = Vec::new();
    for definition in definitions {
        if blobs.turn() {
            families.clear();
        }
        let plain = &mut blobs.plain;
        put_varint(plain, u64::from(definition.id));
        match families.iter().position(|known| *known == &definition.family) {
            Some(position) => put_varint(plain, position as u64 + 1),
            None => {
                put_varint(plain, 0);
                put_family(plain, &definition.family);
                families.push(&definition.family);
            }
        }
        put_text(plain, &definition.suffix);
        put_varint(plain, definition.labels.len() as u64);
        for (name, value) in &definition.labels {
            put_text(plain, name);
            put_text(plain, value);
        }
        blobs.n_entries += 1;
    }
    blobs.finish()
}

/// Decodes what `encode_series` made, and hands over each series.
pub fn decode_series(blob: &[u8], mut each: impl FnMut(SeriesDefinition)) -> Result<(), CodecError> {
    let plain = open(blob, OF_SERIES)?;
    let mut cursor = Cursor::new(&plain[2..]);
    let (mut families, mut n_entries): (Vec<Arc<Family>>, usize) = (Vec::new(), 0);
    while !cursor.is_empty() {
        count_entry(&mut n_entries)?;
        let id = take_id(&mut cursor)?;
        let family = match cursor.count(families.len())? {
            0 => {
                let family = Arc::new(take_family(&mut cursor)?);
                families.push(Arc::clone(&family));
                family
            }
            number => Arc::clone(&families[number - 1]),
        };
        let suffix = cursor.text()?;
        let n_labels = cursor.count(N_LABELS_MAX)?;
        let labels = (0..n_labels).map(|_| Ok((cursor.text()?, cursor.text()?)));
        let labels = labels.collect::<Result<_, CodecError>>()?;
        each(SeriesDefinition { id, family, suffix, labels });
    }
    Ok(())
}

/// Encodes entities into as many blobs as keep each one small.
pub fn encode_entities<'a>(definitions: impl IntoIterator<Item = &'a EntityDefinition>) -> Vec<Vec<u8>> {
    let mut blobs = Blobs::new(OF_ENTITIES);
    for EntityDefinition { id, kind, entity } in definitions {
        blobs.turn();
        let plain = &mut blobs.plain;
        put_varint(plain, u64::from(*id));
        plain.push(match kind {
            TableKind::Processes => 0,
            TableKind::Units => 1,
        });
        put_varint(plain, u64::from(entity.pid));
        put_signed(plain, entity.start_ms);
        for text in [&entity.name, &entity.command, &entity.unit, &entity.group] {
            put_text(plain, text);
        }
        put_varint(plain, u64::from(entity.uid));
        put_varint(plain, u64::from(entity.parent));
        blobs.n_entries += 1;
    }
    blobs.finish()
}

/// Decodes what `encode_entities` made, and hands over each entity.
pub fn decode_entities(blob: &[u8], mut each: impl FnMut(EntityDefinition)) -> Result<(), CodecError> {
    let plain = open(blob, OF_ENTITIES)?;
    let mut cursor = Cursor::new(&plain[2..]);
    let mut n_entries = 0;
    while !cursor.is_empty() {
        count_entry(&mut n_entries)?;
        let id = take_id(&mut cursor)?;
        let kind = match cursor.byte()? {
            0 => TableKind::Processes,
            1 => TableKind::Units,
            _ => return Err(CodecError::Malformed("no such table")),
        };
        let entity = Entity {
            pid: take_id(&mut cursor)?,
            start_ms: cursor.signed()?,
            name: cursor.text()?,
            command: cursor.text()?,
            unit: cursor.text()?,
            group: cursor.text()?,
            uid: take_id(&mut cursor)?,
            parent: take_id(&mut cursor)?,
        };
        each(EntityDefinition { id, kind, entity });
    }
    Ok(())
}

/// Encodes events as the blob of one item.
pub fn encode_events(events: &[Event]) -> Vec<u8> {
    let mut plain = vec![VERSION, OF_EVENTS];
    let mut last_ms: TimeMs = 0;
    for event in events {
        put_signed(&mut plain, event.time_ms.wrapping_sub(last_ms));
        last_ms = event.time_ms;
        put_text(&mut plain, event_word(event.kind));
        put_text(&mut plain, &event.subject);
        put_text(&mut plain, &event.text);
    }
    pack(&plain, ZSTD_LEVEL)
}

/// Decodes what `encode_events` made. An event of a kind that this version does not know is left
/// out: a newer agent may have more of them.
pub fn decode_events(blob: &[u8]) -> Result<Vec<Event>, CodecError> {
    let plain = open(blob, OF_EVENTS)?;
    let mut cursor = Cursor::new(&plain[2..]);
    let (mut events, mut last_ms) = (Vec::new(), 0_i64);
    let mut n_entries = 0;
    while !cursor.is_empty() {
        count_entry(&mut n_entries)?;
        last_ms = last_ms.wrapping_add(cursor.signed()?);
        let word = cursor.text()?;
        let (subject, text) = (cursor.text()?, cursor.text()?);
        if let Some(kind) = parse_event_word(&word) {
            events.push(Event { time_ms: last_ms, kind, subject, text });
        }
    }
    Ok(events)
}

/// Blobs under way: the present one is closed when it has grown enough.
struct Blobs {
    plain: Vec<u8>,
    n_entries: usize,
    done: Vec<Vec<u8>>,
}

impl Blobs {
    fn new(of: u8) -> Self {
        Self { plain: vec![VERSION, of], n_entries: 0, done: Vec::new() }
    }

    /// Before an entry: begins another blob if need be, and says so.
    fn turn(&mut self) -> bool {
        let full = self.plain.len() >= PLAIN_BYTES_GOAL || self.n_entries >= N_ENTRIES_GOAL;
        if full {
            self.close();
        }
        full
    }

    fn close(&mut self) {
        self.done.push(pack(&self.plain, ZSTD_LEVEL));
        self.plain.truncate(2);
        self.n_entries = 0;
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        if self.n_entries > 0 {
            self.close();
        }
        self.done
    }
}

/// Unpacks a blob of these entries, within bounds.
fn open(blob: &[u8], of: u8) -> Result<Vec<u8>, CodecError> {
    let plain = unpack_at_most(blob, PLAIN_BYTES_MAX)?;
    match plain.get(..2) {
        Some([VERSION, what]) if *what == of => Ok(plain),
        Some([VERSION, _]) => Err(CodecError::Malformed("definitions of something else")),
        Some(_) => Err(CodecError::Malformed("unknown version")),
        None => Err(CodecError::Truncated),
    }
}

fn count_entry(n_entries: &mut usize) -> Result<(), CodecError> {
    *n_entries += 1;
    if *n_entries > N_ENTRIES_MAX { Err(CodecError::TooLarge) } else { Ok(()) }
}

fn put_family(out: &mut Vec<u8>, family: &Family) {
    put_text(out, &family.name);
    put_varint(out, kind_code(family.kind) as u64);
    put_text(out, &family.help);
}

fn take_family(cursor: &mut Cursor<'_>) -> Result<Family, CodecError> {
    let name = cursor.text()?.into();
    let kind = kind_of(i64::from(take_id(cursor)?));
    Ok(Family { name, kind, help: cursor.text()?.into() })
}

fn take_id(cursor: &mut Cursor<'_>) -> Result<u32, CodecError> {
    u32::try_from(cursor.varint()?).map_err(|_| CodecError::Malformed("number out of range"))
}

#[cfg(test)]
mod tests {
    use fieldpost_model::{EventKind, Kind};
    use proptest::prelude::*;

    use super::*;

    fn any_family() -> impl Strategy<Value = Arc<Family>> {
        let kinds =
            prop_oneof![Just(Kind::Counter), Just(Kind::Gauge), Just(Kind::Untyped), Just(Kind::Summary)];
        ("[a-c]{1,2}", kinds, "\\PC{0,5}")
            .prop_map(|(name, kind, help)| Arc::new(Family { name: name.into(), help: help.into(), kind }))
    }

    fn any_series() -> impl Strategy<Value = SeriesDefinition> {
        let labels = proptest::collection::vec(("\\PC{0,4}", any::<String>()), 0..4);
        (any::<u32>(), any_family(), "[a-z_]{0,4}", labels)
            .prop_map(|(id, family, suffix, labels)| SeriesDefinition { id, family, suffix, labels })
    }

    fn any_entity() -> impl Strategy<Value = EntityDefinition> {
        let kind = prop_oneof![Just(TableKind::Processes), Just(TableKind::Units)];
        let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
        let numbers = (any::<u32>(), any::<u32>(), any::<i64>(), any::<u32>(), any::<u32>());
        (kind, texts, numbers).prop_map(|(kind, texts, (id, pid, start_ms, uid, parent))| {
            let (name, command, unit, group) = texts;
            let entity = Entity { pid, start_ms, name, command, unit, group, uid, parent };
            EntityDefinition { id, kind, entity }
        })
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let kind = prop_oneof![Just(EventKind::Start), Just(EventKind::Quarantine), Just(EventKind::Gap)];
        (any::<i64>(), kind, any::<String>(), any::<String>())
            .prop_map(|(time_ms, kind, subject, text)| Event { time_ms, kind, subject, text })
    }

    proptest! {
        #[test]
        fn what_was_said_comes_back(
            series in proptest::collection::vec(any_series(), 0..40),
            entities in proptest::collection::vec(any_entity(), 0..10),
            events in proptest::collection::vec(any_event(), 0..10),
        ) {
            let mut back = Vec::new();
            for blob in encode_series(&series) {
                decode_series(&blob, |definition| back.push(definition)).unwrap();
            }
            prop_assert_eq!(back, series);
            let mut back = Vec::new();
            for blob in encode_entities(&entities) {
                decode_entities(&blob, |definition| back.push(definition)).unwrap();
            }
            prop_assert_eq!(back, entities);
            prop_assert_eq!(decode_events(&encode_events(&events)).unwrap(), events);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), of in 0_u8..5) {
            let mut plain = vec![VERSION, of];
            plain.extend(&bytes);
            for blob in [pack(&plain, 1), pack(&bytes, 1), bytes] {
                let _ = decode_series(&blob, |_| {});
                let _ = decode_entities(&blob, |_| {});
                let _ = decode_events(&blob);
            }
        }

        #[test]
        fn damaged_definitions_never_panic(series in proptest::collection::vec(any_series(), 1..10), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut plain = open(&encode_series(&series)[0], OF_SERIES).unwrap();
            let position = at.index(plain.len());
            plain[position] ^= flip;
            let _ = decode_series(&pack(&plain, 1), |_| {});
            plain.truncate(position);
            let _ = decode_series(&pack(&plain, 1), |_| {});
        }
    }

    #[test]
    fn many_series_are_cut_into_blobs_that_stand_alone() {
        let family = Arc::new(Family { name: "x".into(), help: "Help.".into(), kind: Kind::Gauge });
        let series = |id| SeriesDefinition {
            id,
            family: Arc::clone(&family),
            suffix: String::new(),
            labels: vec![("n".into(), id.to_string())],
        };
        let all: Vec<_> = (0..10_000).map(series).collect();
        let blobs = encode_series(&all);
        assert_eq!(blobs.len(), 3);
        let mut back = Vec::new();
        for blob in &blobs {
            decode_series(blob, |definition| back.push(definition)).unwrap();
        }
        assert_eq!(back, all);
        assert!(encode_series([]).is_empty());
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let bomb = pack(&vec![0; PLAIN_BYTES_MAX + 1], 1);
        assert_eq!(decode_series(&bomb, |_| {}), Err(CodecError::TooLarge));
        // Entries of four bytes each, all of one family.
        let mut plain = vec![VERSION, OF_SERIES, 0, 0, 1, b'x', 0, 0, 0, 0];
        (0..N_ENTRIES_MAX).for_each(|_| plain.extend([0, 1, 0, 0]));
        assert_eq!(decode_series(&pack(&plain, 1), |_| {}), Err(CodecError::TooLarge));
        assert!(decode_events(&pack(&plain, 1)).is_err());
    }
}
