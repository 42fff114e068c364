//! The audit log: each entry is written in the transaction of what it tells, and its hash covers
//! the hash before it.

use fieldpost_model::hub_state::{
    Act, Audit, AuditEntry, AuditFault, AuditHead, AuditNote, AuditVerdict, HubStateError, StateResult,
    check_text,
};
use rusqlite::{Connection, Row, Transaction, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::SqliteHubState;

/// Entries on one page at most.
const PAGE_ENTRIES_MAX: usize = 1_000;
const COLUMNS: &str = "seq, time_ms, actor, address, action, subject, detail, hash";

/// Adds an entry to the log, as part of the transaction of what it tells.
pub(super) fn append(
    transaction: &Transaction<'_>,
    act: &Act,
    action: &str,
    subject: &str,
    detail: &Value,
) -> rusqlite::Result<()> {
    let head = head(transaction)?;
    let mut entry = AuditEntry {
        seq: head.seq + 1,
        time_ms: act.now_ms,
        actor: act.actor.to_string(),
        address: act.address.clone().unwrap_or_default(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_string(),
        hash: [0; 32],
    };
    entry.hash = chain(&head.hash, &entry);
    let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    let (seq, hash) = (entry.seq as i64, &entry.hash[..]);
    transaction.prepare_cached(&sql)?.execute(params![
        seq,
        entry.time_ms,
        entry.actor,
        entry.address,
        entry.action,
        entry.subject,
        entry.detail,
        hash
    ])?;
    transaction.prepare_cached("UPDATE audit_head SET seq = ?1, hash = ?2")?.execute(params![seq, hash])?;
    Ok(())
}

fn chain(before: &[u8; 32], entry: &AuditEntry) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(entry.canonical()).finalize().into()
}

fn head(connection: &Connection) -> rusqlite::Result<AuditHead> {
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM audit_head")?;
    statement.query_row([], |row| Ok(AuditHead { seq: row.get::<_, i64>(0)? as u64, hash: row.get(1)? }))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        // No entry of ours has a number below 1.
        seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        time_ms: row.get(1)?,
        actor: row.get(2)?,
        address: row.get(3)?,
        action: row.get(4)?,
        subject: row.get(5)?,
        detail: row.get(6)?,
        hash: row.get(7)?,
    })
}

impl Audit for SqliteHubState {
    fn audit(&self, before: Option<u64>, limit: usize) -> StateResult<Vec<AuditEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
        let before = before.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(i64::MAX);
        let limit = limit.min(PAGE_ENTRIES_MAX) as i64;
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let entries = statement.query_map(params![before, limit], entry)?.collect::<Result<_, _>>()?;
            Ok(entries)
        })
    }

    fn note(&self, act: &Act, note: &AuditNote) -> StateResult<()> {
        check_text("audit note", &note.action)?;
        check_text("audit note", &note.subject)?;
        let invalid = |reason: &str| HubStateError::invalid("audit note", reason);
        if note.detail.len() > AuditNote::DETAIL_BYTES_MAX {
            return Err(invalid("its detail has more than 16 KiB"));
        }
        let detail: Value =
            serde_json::from_str(&note.detail).map_err(|_| invalid("its detail is not JSON"))?;
        self.write(|transaction| Ok(append(transaction, act, &note.action, &note.subject, &detail)?))
    }

    fn audit_head(&self) -> StateResult<AuditHead> {
        self.read(|connection| Ok(head(connection)?))
    }

    fn verify_audit(&self, witness: Option<&AuditHead>) -> StateResult<AuditVerdict> {
        self.read(|connection| Ok(verify(connection, witness)?))
    }
}

/// Goes through the log entry by entry, holding one at a time.
fn verify(connection: &Connection, witness: Option<&AuditHead>) -> rusqlite::Result<AuditVerdict> {
    let end = head(connection)?;
    let (mut n_good, mut before) = (0, [0; 32]);
    let verdict = |n_good, fault| Ok(AuditVerdict { n_good, fault });
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // What somebody put in need not even have our types.
        let Ok(entry) = entry(row) else { return verdict(n_good, Some(AuditFault::Changed(n_good + 1))) };
        if let Some(fault) = fault_of(&entry, n_good + 1, &before, &end, witness) {
            return verdict(n_good, Some(fault));
        }
        (n_good, before) = (entry.seq, entry.hash);
    }
    let last = end.seq.max(witness.map_or(0, |witness| witness.seq));
    verdict(n_good, (n_good < last).then_some(AuditFault::Missing(n_good + 1)))
}

fn fault_of(
    entry: &AuditEntry,
    expected: u64,
    before: &[u8; 32],
    end: &AuditHead,
    witness: Option<&AuditHead>,
) -> Option<AuditFault> {
    if entry.seq < expected || entry.seq > end.seq {
        return Some(AuditFault::Added(entry.seq));
    }
    if entry.seq > expected {
        return Some(AuditFault::Missing(expected));
    }
    if chain(before, entry) != entry.hash || (entry.seq == end.seq && entry.hash != end.hash) {
        return Some(AuditFault::Changed(entry.seq));
    }
    let rewritten = witness.is_some_and(|witness| witness.seq == entry.seq && witness.hash != entry.hash);
    rewritten.then_some(AuditFault::Rewritten(entry.seq))
}
