//! The state's file: what is in it, what is refused, and copies of it.

use std::path::Path;

use fieldpost_model::hub_state::{
    Act, Actor, HubState, NewApiToken, NewSession, NewUser, PasswordHash, Role, Scope,
};
use fieldpost_store::{HubStateOpenError, SqliteHubState, restore_hub_state};
use proptest::prelude::*;

use super::{Hub, admin, enrol, enrolled, new_agent, secret, token};
use crate::data::START_MS;

fn refused(folder: &Path) -> HubStateOpenError {
    SqliteHubState::open(folder).err().expect("it is refused")
}

/// All bytes of all files of a folder.
fn bytes(folder: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn secrets_are_nowhere_in_the_files() {
    const CANARIES: [&str; 6] =
        ["canary-join", "canary-used", "canary-session", "canary-api", "canary-first", "canary-link"];
    let hub = Hub::new();
    let state = hub.open();
    token(&state, "canary-join", |_| ());
    token(&state, "canary-used", |_| ());
    enrol(&state, "canary-used", new_agent(1, "one"), START_MS).unwrap();
    let state: &dyn HubState = &state;
    let later_ms = START_MS + 60_000;
    state.offer_first_admin(&admin(), &secret("canary-first"), later_ms).unwrap();
    let password = PasswordHash::from_phc("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".into()).unwrap();
    let user = NewUser { name: "alice".into(), password: Some(password), role: Role::Admin };
    state.claim_first_admin(&admin(), &secret("canary-first"), &user).unwrap();
    let session =
        |text: &str| NewSession { secret: secret(text), user: "alice".into(), expires_ms: later_ms };
    state.begin_session(&admin(), &session("canary-session")).unwrap();
    state.offer_sign_in(&admin(), "alice", &secret("canary-link"), later_ms).unwrap();
    let api_token = NewApiToken {
        secret: secret("canary-api"),
        name: "prometheus".into(),
        owner: None,
        scope: Scope::Ingest,
        expires_ms: None,
    };
    state.add_api_token(&admin(), &api_token).unwrap();
    let open = bytes(hub.folder.path());
    // Names are there, so that the search is known to find what is.
    assert!(contains(&open, "prometheus") && contains(&open, "alice"));
    for canary in CANARIES {
        assert!(!contains(&open, canary), "{canary} is in a file");
    }
}

#[test]
fn second_hub_on_the_same_state_is_refused() {
    let hub = Hub::new();
    let state = hub.open();
    let error = refused(hub.folder.path());
    assert!(matches!(error, HubStateOpenError::Busy(_)), "{error}");
    drop(state);
    hub.open();
}

#[test]
fn state_outlives_the_hub() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    let (hub_id, head, agent) = {
        let state: &dyn HubState = &state;
        (state.hub_id().unwrap(), state.audit_head().unwrap(), state.agent(&id).unwrap())
    };
    drop(state);
    let state: &dyn HubState = &hub.open();
    assert_eq!((state.hub_id().unwrap(), state.audit_head().unwrap()), (hub_id, head));
    assert_eq!(state.agent(&id).unwrap(), agent);
}

#[test]
fn state_that_is_gone_or_empty_is_not_begun_anew() {
    let hub = Hub::new();
    enrolled(&hub.open(), 1, "one");
    let path = hub.folder.path().join("state.db");
    let kept = std::fs::read(&path).unwrap();
    for empty in [false, true] {
        std::fs::remove_file(&path).unwrap();
        if empty {
            std::fs::write(&path, "").unwrap();
        }
        let error = refused(hub.folder.path());
        assert!(matches!(error, HubStateOpenError::Gone { .. }), "{error}");
        assert!(error.to_string().contains("restore a backup"), "{error}");
        assert_eq!(std::fs::read(&path).ok(), empty.then(Vec::new));
        std::fs::write(&path, &kept).unwrap();
    }
    let state: &dyn HubState = &hub.open();
    assert_eq!(state.agents().unwrap().len(), 1);
}

#[test]
fn damaged_state_is_refused_and_left_as_it_is() {
    let hub = Hub::new();
    for n in 0..40 {
        enrolled(&hub.open(), n, "host");
    }
    let path = hub.folder.path().join("state.db");
    let kept = std::fs::read(&path).unwrap();
    let header = (0..100, 0xff);
    let pages = (4_096..kept.len(), 0x5a);
    for (span, byte) in [header, pages] {
        let mut broken = kept.clone();
        broken[span].fill(byte);
        std::fs::write(&path, &broken).unwrap();
        let error = refused(hub.folder.path());
        let text = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(matches!(error, HubStateOpenError::Damaged { .. }), "{text}");
        assert!(text.contains("restore a backup") || text.contains("Restore a backup"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), broken);
        assert!(!hub.folder.path().join("quarantine").exists());
    }
}

#[test]
fn file_of_something_else_or_of_another_hub_is_refused() {
    let (hub, other) = (Hub::new(), Hub::new());
    drop((hub.open(), other.open()));
    std::fs::copy(other.folder.path().join("state.db"), hub.folder.path().join("state.db")).unwrap();
    let error = refused(hub.folder.path());
    assert!(matches!(error, HubStateOpenError::OtherHub { .. }), "{error}");
    let foreign = Hub::new();
    foreign.raw().execute_batch("CREATE TABLE notes (x); PRAGMA user_version = 1;").unwrap();
    let error = refused(foreign.folder.path());
    assert!(error.to_string().contains("it is not the state of a hub"), "{error}");
}

#[test]
fn newer_state_is_refused() {
    let hub = Hub::new();
    drop(hub.open());
    hub.raw().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = refused(hub.folder.path());
    assert!(matches!(error, HubStateOpenError::TooNew(_)), "{error}");
}

#[test]
fn backup_is_whole_while_the_hub_goes_on_and_comes_back_under_a_new_epoch() {
    let (hub, place, empty) = (Hub::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backup = place.path().join("state.db");
    let state = hub.open();
    for n in 0..20 {
        enrolled(&state, n, "before");
    }
    std::thread::scope(|scope| {
        let state = &state;
        let writes = scope.spawn(move || (100..130).for_each(|n| drop(enrolled(state, n, "during"))));
        for _ in 0..5 {
            state.backup(&backup).unwrap();
        }
        writes.join().unwrap();
    });
    let act = Act::new(Actor::Socket(0), START_MS);
    restore_hub_state(&act, &backup, empty.path()).unwrap();
    let restored = SqliteHubState::open(empty.path()).unwrap();
    let (restored, state): (&dyn HubState, &dyn HubState) = (&restored, &state);
    let n_agents = restored.agents().unwrap().len();
    assert!((20..=50).contains(&n_agents), "{n_agents}");
    assert_eq!(restored.hub_id().unwrap(), state.hub_id().unwrap());
    assert_ne!(restored.epoch().unwrap(), state.epoch().unwrap());
    assert_eq!(restored.verify_audit(None).unwrap().fault, None);
    assert_eq!(restored.audit(None, 1).unwrap()[0].action, "state.restore");
    let again = restore_hub_state(&act, &backup, hub.folder.path()).unwrap_err();
    assert!(matches!(again, HubStateOpenError::Busy(_)), "{again}");
    let present = restore_hub_state(&act, &backup, place.path()).unwrap_err();
    assert!(matches!(present, HubStateOpenError::Present(_)), "{present}");
}

#[test]
fn restore_puts_back_what_was_gone_and_refuses_a_broken_backup() {
    let (hub, place) = (Hub::new(), tempfile::tempdir().unwrap());
    let backup = place.path().join("copy.db");
    let state = hub.open();
    enrolled(&state, 1, "one");
    state.backup(&backup).unwrap();
    enrolled(&state, 2, "after the backup");
    let log = hub.folder.path().join("state.db-wal");
    let crashed = std::fs::read(&log).unwrap();
    drop(state);
    assert!(!log.exists(), "a hub that ends empties its log");
    std::fs::remove_file(hub.folder.path().join("state.db")).unwrap();
    std::fs::write(&log, crashed).unwrap();
    let act = Act::new(Actor::Socket(0), START_MS);
    let mut broken = std::fs::read(&backup).unwrap();
    let end = broken.len();
    broken[4_096..end].fill(0x5a);
    let other = place.path().join("broken.db");
    std::fs::write(&other, broken).unwrap();
    let error = restore_hub_state(&act, &other, hub.folder.path()).unwrap_err();
    assert!(matches!(error, HubStateOpenError::Damaged { .. }), "{error}");
    restore_hub_state(&act, &backup, hub.folder.path()).unwrap();
    let state: &dyn HubState = &hub.open();
    let agents = state.agents().unwrap();
    assert_eq!((agents.len(), agents[0].name.as_str()), (1, "one"));
    assert_eq!(state.verify_audit(None).unwrap().fault, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn state_with_wrong_bytes_is_refused_or_read_and_never_panics(
        wrong in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let hub = Hub::new();
        enrolled(&hub.open(), 1, "one");
        let path = hub.folder.path().join("state.db");
        let mut bytes = std::fs::read(&path).unwrap();
        wrong.iter().for_each(|(place, byte)| { let n = place.index(bytes.len()); bytes[n] = *byte; });
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        match SqliteHubState::open(hub.folder.path()) {
            Ok(state) => {
                let state: &dyn HubState = &state;
                drop((state.agents(), state.join_tokens(), state.users(), state.verify_audit(None)));
            }
            Err(_) => prop_assert_eq!(std::fs::read(&path).unwrap(), bytes),
        }
    }
}
