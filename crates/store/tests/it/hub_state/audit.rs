//! The audit log: every change is in it, and what is done to it afterwards is found.

use fieldpost_model::hub_state::{
    Act, Actor, AuditEntry, AuditFault, AuditHead, AuditNote, HubState, Status,
};
use rusqlite::Connection;

use super::{Hub, admin};
use crate::data::START_MS;

/// A state with this many entries; answers its head.
fn noted(hub: &Hub, n_entries: u64) -> AuditHead {
    let state: &dyn HubState = &hub.open();
    for n in 1..=n_entries {
        let subject = format!("entry {n}");
        let note = AuditNote { action: "test.note".into(), subject, detail: "{}".into() };
        state.note(&admin().at("192.0.2.7"), &note).unwrap();
    }
    state.audit_head().unwrap()
}

fn tampered(n_entries: u64, tamper: &str) -> Option<AuditFault> {
    let hub = Hub::new();
    noted(&hub, n_entries);
    let raw: Connection = hub.raw();
    raw.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_cut;").unwrap();
    raw.execute_batch(tamper).unwrap();
    drop(raw);
    let state: &dyn HubState = &hub.open();
    state.verify_audit(None).unwrap().fault
}

#[test]
fn changed_removed_and_added_entries_are_found() {
    let insert =
        |seq: i64| format!("INSERT INTO audit VALUES ({seq}, 1, 'x', '', 'x', '', '{{}}', zeroblob(32))");
    assert_eq!(
        tampered(9, "UPDATE audit SET subject = 'entry x' WHERE seq = 4"),
        Some(AuditFault::Changed(4))
    );
    assert_eq!(tampered(9, "UPDATE audit SET time_ms = 7 WHERE seq = 9"), Some(AuditFault::Changed(9)));
    assert_eq!(tampered(9, "UPDATE audit SET hash = x'00' WHERE seq = 2"), Some(AuditFault::Changed(2)));
    assert_eq!(tampered(9, "DELETE FROM audit WHERE seq = 5"), Some(AuditFault::Missing(5)));
    assert_eq!(tampered(9, "DELETE FROM audit WHERE seq = 1"), Some(AuditFault::Missing(1)));
    assert_eq!(tampered(9, "DELETE FROM audit WHERE seq > 6"), Some(AuditFault::Missing(7)));
    assert_eq!(tampered(9, "DELETE FROM audit"), Some(AuditFault::Missing(1)));
    assert_eq!(tampered(9, &insert(10)), Some(AuditFault::Added(10)));
    assert_eq!(tampered(9, &insert(20)), Some(AuditFault::Added(20)));
    assert_eq!(tampered(9, &insert(-1)), Some(AuditFault::Added(0)));
    let between = format!(
        "UPDATE audit SET seq = -seq WHERE seq > 4;
        UPDATE audit SET seq = 1 - seq WHERE seq < 0; {}",
        insert(5)
    );
    assert_eq!(tampered(9, &between), Some(AuditFault::Changed(5)));
    assert_eq!(tampered(9, ""), None);
    assert_eq!(tampered(0, ""), None);
}

#[test]
fn log_that_was_written_anew_does_not_lead_to_its_witness() {
    let (hub, forged) = (Hub::new(), Hub::new());
    let witness = noted(&hub, 5);
    noted(&hub, 3);
    let state = hub.open();
    let verdict = (&state as &dyn HubState).verify_audit(Some(&witness)).unwrap();
    assert_eq!((verdict.n_good, verdict.fault), (8, None));
    // One that holds together in itself, with one entry less.
    noted(&forged, 4);
    let state: &dyn HubState = &forged.open();
    assert_eq!(state.verify_audit(Some(&witness)).unwrap().fault, Some(AuditFault::Missing(5)));
    let note = AuditNote { action: "a".into(), subject: "b".into(), detail: "{}".into() };
    state.note(&admin(), &note).unwrap();
    assert_eq!(state.verify_audit(None).unwrap().fault, None);
    assert_eq!(state.verify_audit(Some(&witness)).unwrap().fault, Some(AuditFault::Rewritten(5)));
}

#[test]
fn log_cannot_be_changed_by_mistake() {
    let hub = Hub::new();
    noted(&hub, 2);
    for sql in ["DELETE FROM audit", "UPDATE audit SET actor = 'x'"] {
        let error = hub.raw().execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("the audit log only grows"), "{error}");
    }
}

#[test]
fn pages_go_from_the_newest_to_the_oldest() {
    let hub = Hub::new();
    noted(&hub, 25);
    let state: &dyn HubState = &hub.open();
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page: Vec<AuditEntry> = state.audit(before, 10).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        seen.extend(page.iter().map(|entry| entry.seq));
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
    let newest = state.audit(None, 1).unwrap().remove(0);
    assert_eq!((newest.actor.as_str(), newest.address.as_str()), ("user:alice", "192.0.2.7"));
    assert_eq!((newest.subject.as_str(), newest.time_ms), ("entry 25", START_MS));
}

#[test]
fn change_that_is_refused_leaves_no_entry_and_one_that_is_done_leaves_one() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let act = Act::new(Actor::Socket(1000), START_MS);
    assert!(state.set_agent_status(&act, "none", Status::Online, None).is_err());
    assert!(state.revoke_agent(&act, "none").is_err());
    assert_eq!(state.audit_head().unwrap().seq, 0);
    state.set_setting(&act, "a", Some("secret value")).unwrap();
    let entries = state.audit(None, 10).unwrap();
    assert_eq!(entries.len(), 1);
    let said = (entries[0].actor.as_str(), entries[0].action.as_str(), entries[0].detail.as_str());
    assert_eq!(said, ("socket:1000", "setting.set", "{\"bytes\":12}"));
}

#[test]
fn notes_are_bounded_and_json() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let note = |subject: &str, detail: String| {
        let note = AuditNote { action: "x".into(), subject: subject.into(), detail };
        state.note(&admin(), &note).is_ok()
    };
    assert!(!note("a", "no json".into()));
    assert!(!note("a", format!("\"{}\"", "x".repeat(20_000))));
    assert!(!note(&"x".repeat(3_000), "{}".into()));
    assert!(note("a\0\n", "{\"b\":\"\\u0000\"}".into()));
    assert_eq!(state.verify_audit(None).unwrap().fault, None);
}
