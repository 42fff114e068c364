//! What goes into the frames of the record besides the windows themselves, as bytes and back:
//! definitions of series and of entities, events and gaps, and the envelope of a table's blob.
//! Whatever the bytes are, decoding ends, allocates a bounded amount and never panics.

use fieldpost_model::{Entity, Event, TableKind};

use crate::codec::{CodecError, Cursor, pack, put_signed, put_text, put_varint, unpack};
use crate::dictionary::{kind_code, kind_of, put_labels, take_labels};
use crate::state::{Gap, GapReason, event_word, parse_event_word};

pub use crate::dictionary::Entry as Definition;

/// Bump it when a layout changes, and keep reading the old one.
const VERSION: u8 = 1;
/// Definitions are written seldom and read seldom, and help texts repeat themselves.
const ZSTD_LEVEL: i32 = 3;
/// A frame of definitions is closed when it is longer than this, unpacked.
const FRAME_BYTES: usize = 1 << 20;
/// The most definitions in a frame.
pub(super) const N_DEFINITIONS_MAX: usize = 4_096;
/// The most labels that all definitions of a frame may have together.
const N_LABELS_MAX: usize = 1 << 18;

/// What an entity's number means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityDefinition {
    /// The number, in the scope in which it is said.
    pub id: u32,
    /// The table in whose rows it stands.
    pub kind: TableKind,
    /// What does not change about the process or unit.
    pub entity: Entity,
}

/// An item of the stream of events.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// Something happened to the agent.
    Event(Event),
    /// Samples are missing.
    Gap(Gap),
}

/// An item of the stream of processes: a blob of `codec::encode_table`, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableBlob<'a> {
    /// Which table.
    pub kind: TableKind,
    /// Twice the first instant, plus one for units; rises along a chain.
    pub key: i64,
    /// The key of the first blob of its chain, which starts from an empty table. Chains live
    /// within one scope.
    pub chain: i64,
    /// As it was sealed, for `codec::decode_table`.
    pub blob: &'a [u8],
}

/// Packs as many definitions of series as go into one frame; answers how many.
pub fn encode_definitions(definitions: &[Definition]) -> (Vec<u8>, usize) {
    encode_frame(definitions, |plain, definition| {
        put_varint(plain, u64::from(definition.id));
        put_text(plain, &definition.family.name);
        plain.push(kind_code(definition.family.kind) as u8);
        put_text(plain, &definition.family.help);
        put_text(plain, &definition.suffix);
        put_labels(plain, &definition.labels);
    })
}

/// Unpacks definitions of series, as they come in the stream of metrics.
pub fn decode_definitions(bytes: &[u8]) -> Result<Vec<Definition>, CodecError> {
    let mut n_labels = 0;
    decode_frame(bytes, |cursor| {
        let id = take_u32(cursor)?;
        let name = cursor.text()?.into();
        let kind = kind_of(i64::from(cursor.byte()?));
        let family = fieldpost_model::Family { name, kind, help: cursor.text()?.into() };
        let suffix = cursor.text()?;
        let labels = take_labels(cursor)?;
        n_labels += labels.len();
        if n_labels > N_LABELS_MAX {
            return Err(CodecError::TooLarge);
        }
        Ok(Definition { id, family, suffix, labels })
    })
}

/// Packs as many definitions of entities as go into one frame; answers how many.
pub fn encode_entities(definitions: &[EntityDefinition]) -> (Vec<u8>, usize) {
    encode_frame(definitions, |plain, EntityDefinition { id, kind, entity }| {
        put_varint(plain, u64::from(*id));
        plain.push(u8::from(*kind == TableKind::Units));
        put_varint(plain, u64::from(entity.pid));
        put_signed(plain, entity.start_ms);
        for text in [&entity.name, &entity.command, &entity.unit, &entity.group] {
            put_text(plain, text);
        }
        put_varint(plain, u64::from(entity.uid));
        put_varint(plain, u64::from(entity.parent));
    })
}

/// Unpacks definitions of entities, as they come in the stream of processes.
pub fn decode_entities(bytes: &[u8]) -> Result<Vec<EntityDefinition>, CodecError> {
    decode_frame(bytes, |cursor| {
        let id = take_u32(cursor)?;
        let kind = take_kind(cursor)?;
        let (pid, start_ms) = (take_u32(cursor)?, cursor.signed()?);
        let (name, command) = (cursor.text()?, cursor.text()?);
        let (unit, group) = (cursor.text()?, cursor.text()?);
        let (uid, parent) = (take_u32(cursor)?, take_u32(cursor)?);
        let entity = Entity { pid, start_ms, name, command, unit, group, uid, parent };
        Ok(EntityDefinition { id, kind, entity })
    })
}

fn encode_frame<T>(all: &[T], put: impl Fn(&mut Vec<u8>, &T)) -> (Vec<u8>, usize) {
    let (mut body, mut n) = (Vec::new(), 0);
    for one in all.iter().take(N_DEFINITIONS_MAX) {
        if body.len() >= FRAME_BYTES {
            break;
        }
        put(&mut body, one);
        n += 1;
    }
    let mut plain = vec![VERSION];
    put_varint(&mut plain, n as u64);
    plain.extend(body);
    (pack(&plain, ZSTD_LEVEL), n)
}

fn decode_frame<T>(
    bytes: &[u8],
    mut take: impl FnMut(&mut Cursor<'_>) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let plain = unpack(bytes)?;
    let mut cursor = Cursor::new(&plain);
    check_version(&mut cursor)?;
    let n = cursor.count(N_DEFINITIONS_MAX)?;
    let all = (0..n).map(|_| take(&mut cursor)).collect::<Result<_, _>>()?;
    if cursor.is_empty() { Ok(all) } else { Err(LEFT_OVER) }
}

const LEFT_OVER: CodecError = CodecError::Malformed("bytes are left over");

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), CodecError> {
    if cursor.byte()? == VERSION { Ok(()) } else { Err(CodecError::Malformed("unknown version")) }
}

fn take_u32(cursor: &mut Cursor<'_>) -> Result<u32, CodecError> {
    u32::try_from(cursor.varint()?).map_err(|_| CodecError::Malformed("a number out of range"))
}

fn take_kind(cursor: &mut Cursor<'_>) -> Result<TableKind, CodecError> {
    match cursor.byte()? {
        0 => Ok(TableKind::Processes),
        1 => Ok(TableKind::Units),
        _ => Err(CodecError::Malformed("an unknown table")),
    }
}

const NOTE_EVENT: u8 = 0;
const NOTE_GAP: u8 = 1;

/// Packs an event or a gap.
pub fn encode_note(note: &Note) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match note {
        Note::Event(event) => {
            bytes.push(NOTE_EVENT);
            put_signed(&mut bytes, event.time_ms);
            for text in [event_word(event.kind), &event.subject, &event.text] {
                put_text(&mut bytes, text);
            }
        }
        Note::Gap(gap) => {
            bytes.push(NOTE_GAP);
            put_signed(&mut bytes, gap.from_ms);
            put_signed(&mut bytes, gap.to_ms);
            put_varint(&mut bytes, gap.n_samples);
            put_text(&mut bytes, gap.reason.as_str());
        }
    }
    bytes
}

/// Unpacks an event or a gap; none where it is of a kind that only a newer version knows.
pub fn decode_note(bytes: &[u8]) -> Result<Option<Note>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    check_version(&mut cursor)?;
    let note = match cursor.byte()? {
        NOTE_EVENT => {
            let (time_ms, word) = (cursor.signed()?, cursor.text()?);
            let (subject, text) = (cursor.text()?, cursor.text()?);
            parse_event_word(&word).map(|kind| Note::Event(Event { time_ms, kind, subject, text }))
        }
        NOTE_GAP => {
            let (from_ms, to_ms) = (cursor.signed()?, cursor.signed()?);
            let (n_samples, word) = (cursor.varint()?, cursor.text()?);
            let reason = GapReason::parse(&word);
            reason.map(|reason| Note::Gap(Gap { from_ms, to_ms, n_samples, reason }))
        }
        _ => return Ok(None),
    };
    if cursor.is_empty() { Ok(note) } else { Err(LEFT_OVER) }
}

/// Puts what tells the place of a table's blob before it.
pub fn encode_table_blob(item: &TableBlob<'_>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    put_signed(&mut bytes, item.key);
    put_signed(&mut bytes, item.chain);
    bytes.extend_from_slice(item.blob);
    bytes
}

/// Takes apart what `encode_table_blob` put together.
pub fn decode_table_blob(bytes: &[u8]) -> Result<TableBlob<'_>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    check_version(&mut cursor)?;
    let (key, chain) = (cursor.signed()?, cursor.signed()?);
    let kind = if key & 1 == 0 { TableKind::Processes } else { TableKind::Units };
    Ok(TableBlob { kind, key, chain, blob: cursor.rest() })
}

#[cfg(test)]
mod tests {
    use fieldpost_model::{EventKind, Family, Kind};
    use proptest::prelude::*;

    use super::*;

    fn any_definition() -> impl Strategy<Value = Definition> {
        let labels = proptest::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..4);
        (any::<u32>(), "[a-z]{1,9}", "\\PC{0,30}", "[a-z_]{0,6}", labels).prop_map(
            |(id, name, help, suffix, labels)| {
                let family = Family { name: name.into(), help: help.into(), kind: Kind::Counter };
                Definition { id, family, suffix, labels }
            },
        )
    }

    fn any_entity() -> impl Strategy<Value = EntityDefinition> {
        (any::<u32>(), any::<bool>(), any::<i64>(), "\\PC{0,20}").prop_map(|(id, unit, start_ms, name)| {
            let kind = if unit { TableKind::Units } else { TableKind::Processes };
            let (command, unit, group) = (name.repeat(2), name.clone(), String::new());
            let entity = Entity { pid: id / 2, start_ms, name, command, unit, group, uid: 7, parent: 1 };
            EntityDefinition { id, kind, entity }
        })
    }

    proptest! {
        #[test]
        fn definitions_come_back(
            series in proptest::collection::vec(any_definition(), 0..20),
            entities in proptest::collection::vec(any_entity(), 0..20),
        ) {
            let (bytes, n) = encode_definitions(&series);
            prop_assert_eq!((decode_definitions(&bytes).unwrap(), n), (series.clone(), series.len()));
            let (bytes, n) = encode_entities(&entities);
            prop_assert_eq!((decode_entities(&bytes).unwrap(), n), (entities.clone(), entities.len()));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut versioned = vec![VERSION];
            versioned.extend(&bytes);
            for bytes in [&bytes[..], &versioned[..], &pack(&versioned, 1)[..]] {
                let _ = (decode_definitions(bytes), decode_entities(bytes));
                let _ = (decode_note(bytes), decode_table_blob(bytes));
            }
        }

        #[test]
        fn flipped_bytes_never_panic(
            series in proptest::collection::vec(any_definition(), 1..9),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let mut plain = unpack(&encode_definitions(&series).0).unwrap();
            let position = at.index(plain.len());
            plain[position] ^= flip;
            let _ = decode_definitions(&pack(&plain, 1));
            plain.truncate(position);
            prop_assert!(decode_definitions(&pack(&plain, 1)).is_err());
        }
    }

    #[test]
    fn notes_and_table_blobs_come_back() {
        let event =
            Event { time_ms: -5, kind: EventKind::Stuck, subject: "nfs".into(), text: "\u{1f980}".into() };
        let gap = Gap { from_ms: 1, to_ms: 9, n_samples: u64::MAX, reason: GapReason::Quota };
        for note in [Note::Event(event), Note::Gap(gap)] {
            assert_eq!(decode_note(&encode_note(&note)), Ok(Some(note)));
        }
        let blob = TableBlob { kind: TableKind::Units, key: 41, chain: 31, blob: b"sealed" };
        assert_eq!(decode_table_blob(&encode_table_blob(&blob)), Ok(blob));
        assert_eq!(decode_note(&[VERSION, 9]), Ok(None));
    }

    #[test]
    fn long_lists_of_definitions_are_cut_into_frames() {
        let family = Family { name: "x".into(), help: "h".repeat(1_000).into(), kind: Kind::Gauge };
        let one = |id| Definition { id, family: family.clone(), suffix: String::new(), labels: Vec::new() };
        let all: Vec<_> = (0..6_000).map(one).collect();
        let (mut n_frames, mut back) = (0, Vec::new());
        while back.len() < all.len() {
            let (bytes, n) = encode_definitions(&all[back.len()..]);
            back.extend(decode_definitions(&bytes).unwrap());
            assert!(n > 0 && n <= N_DEFINITIONS_MAX);
            n_frames += 1;
        }
        assert_eq!((back == all, n_frames), (true, 6));
    }
}
