//! Log records as an item of the record, and back. Decoding ends whatever the bytes are.

use fieldpost_model::LogEntry;

use crate::codec::{CodecError, Cursor, pack, put_signed, put_text, put_varint, unpack};

/// Bump it when the layout changes, and keep reading the old one.
const VERSION: u8 = 1;
/// Lines repeat themselves.
const ZSTD_LEVEL: i32 = 3;
/// The longest item, unpacked, and the most records in one: texts in memory take more than packed.
const PLAIN_BYTES_MAX: usize = 4 << 20;
const N_ENTRIES_MAX: usize = 10_000;

/// Packs log records.
pub fn encode_logs(entries: &[LogEntry]) -> Vec<u8> {
    let mut plain = Vec::new();
    put_varint(&mut plain, entries.len() as u64);
    for entry in entries {
        put_signed(&mut plain, entry.time_ms);
        plain.push(entry.severity);
        put_text(&mut plain, &entry.severity_text);
        put_text(&mut plain, &entry.body);
        for pairs in [&entry.attributes, &entry.resource] {
            put_varint(&mut plain, pairs.len() as u64);
            for (name, value) in pairs {
                put_text(&mut plain, name);
                put_text(&mut plain, value);
            }
        }
    }
    let mut bytes = vec![VERSION];
    bytes.extend(pack(&plain, ZSTD_LEVEL));
    bytes
}

/// Unpacks log records.
pub fn decode_logs(bytes: &[u8]) -> Result<Vec<LogEntry>, CodecError> {
    let (version, packed) = bytes.split_first().ok_or(CodecError::Truncated)?;
    if *version != VERSION {
        return Err(CodecError::Malformed("log records of another version"));
    }
    let plain = unpack(packed)?;
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(CodecError::TooLarge);
    }
    let mut cursor = Cursor::new(&plain);
    let mut entries = Vec::new();
    for _ in 0..cursor.count(N_ENTRIES_MAX)? {
        entries.push(LogEntry {
            time_ms: cursor.signed()?,
            severity: cursor.byte()?,
            severity_text: cursor.text()?,
            body: cursor.text()?,
            attributes: pairs(&mut cursor)?,
            resource: pairs(&mut cursor)?,
        });
    }
    if cursor.is_empty() {
        Ok(entries)
    } else {
        Err(CodecError::Malformed("something after the last log record"))
    }
}

fn pairs(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, CodecError> {
    let mut pairs = Vec::new();
    for _ in 0..cursor.varint()? {
        pairs.push((cursor.text()?, cursor.text()?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_cut_ones_are_refused() {
        let entry = |time_ms, body: &str| LogEntry {
            time_ms,
            severity: 9,
            severity_text: "INFO".to_owned(),
            body: body.to_owned(),
            attributes: vec![("a".to_owned(), "1".to_owned())],
            resource: vec![("service.name".to_owned(), "shop".to_owned()), (String::new(), String::new())],
        };
        let entries = [entry(5, "ok"), entry(-1, "")];
        let blob = encode_logs(&entries);
        assert_eq!(decode_logs(&blob).unwrap(), entries);
        assert_eq!(decode_logs(&encode_logs(&[])).unwrap(), []);
        for end in 0..blob.len() {
            assert!(decode_logs(&blob[..end]).is_err(), "{end}");
        }
        // A claim of very many costs nothing.
        let mut plain = Vec::new();
        put_varint(&mut plain, u64::MAX);
        let claim = [vec![VERSION], pack(&plain, 1)].concat();
        assert!(decode_logs(&claim).is_err());
    }
}
