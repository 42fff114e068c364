//! The hub's state from outside: agents, tokens, users and the audit log, over restarts, races,
//! kills and damage.

/// Who gets in by which token, and who does not.
mod enrol;

/// Killed at any instant: a token is usable, or its agent is made.
mod killed;
mod orders;

/// Files that are damaged, gone, of another hub; copies of them.
mod files;

/// Entries that are changed, removed or put in.
mod audit;

/// Users, sessions, API tokens and one-time links.
mod users;

/// States that earlier versions wrote.
mod versions;

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, Actor, Certificate, EnrolRefusal, Enrolled, Enrolment, Fingerprint, Hello, HubState, HubStateError,
    JoinToken, Labels, Mode, NewAgent, NewJoinToken, Roles, SecretHash, Status,
};
use fieldpost_store::{SqliteHubState, secret_hash};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::data::START_MS;

/// A hub's data folder.
struct Hub {
    folder: tempfile::TempDir,
}

impl Hub {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> SqliteHubState {
        SqliteHubState::open(self.folder.path()).unwrap()
    }

    /// The file past the state's own doors.
    fn raw(&self) -> Connection {
        Connection::open(self.folder.path().join("state.db")).unwrap()
    }
}

fn admin() -> Act {
    Act::new(Actor::User("alice".into()), START_MS)
}

fn admin_at(now_ms: TimeMs) -> Act {
    Act::new(Actor::User("alice".into()), now_ms)
}

fn secret(text: &str) -> SecretHash {
    secret_hash(text.as_bytes())
}

fn key(text: &str) -> Fingerprint {
    Fingerprint(secret_hash(text.as_bytes()).0)
}

fn certificate(serial: &str, of_key: &str) -> Certificate {
    let (issued_ms, expires_ms) = (START_MS, START_MS + 30 * 86_400_000);
    Certificate { serial: serial.into(), key: key(of_key), issued_ms, expires_ms }
}

/// An agent with a number for an id, and a key of its own.
fn new_agent(n: u64, name: &str) -> NewAgent {
    NewAgent {
        id: format!("{n:032x}"),
        certificate: certificate(&format!("{n:x}"), &format!("key {n}")),
        name: name.into(),
        roles: Roles::new(),
        labels: Labels::new(),
        version: "0.1.0".into(),
        mode: Mode::Push,
        allow_jobs: "off".into(),
    }
}

fn token(state: &SqliteHubState, text: &str, change: impl FnOnce(&mut NewJoinToken)) -> JoinToken {
    let mut token = NewJoinToken::new(secret(text));
    change(&mut token);
    fieldpost_model::hub_state::JoinTokens::add_join_token(state, &admin(), &token).unwrap()
}

fn enrol(
    state: &dyn HubState,
    text: &str,
    agent: NewAgent,
    now_ms: TimeMs,
) -> Result<Enrolled, EnrolRefusal> {
    state.enrol(&Enrolment { secret: secret(text), agent, address: Some("192.0.2.7".into()), now_ms })
}

/// An agent that is in, by a token of its own.
fn enrolled(state: &SqliteHubState, n: u64, name: &str) -> String {
    let text = format!("token of {n}");
    token(state, &text, |_| ());
    enrol(state, &text, new_agent(n, name), START_MS).unwrap().agent.id
}

#[test]
fn status_is_kept_with_its_why_and_since() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let added = state.admit_agent(&admin(), &new_agent(1, "web-1")).unwrap().agent;
    assert_eq!((added.status.status, added.status.by.as_str()), (Status::Online, "user:alice"));
    let refused = state.set_agent_status(&admin(), "web-1", Status::Offline, None).unwrap_err();
    assert_eq!(refused.to_string(), "this status cannot be: offline needs a comment that says why; add one");
    let set = state.set_agent_status(&admin_at(START_MS + 5), "WEB-1", Status::Maintenance, None).unwrap();
    assert_eq!((set.status.comment.as_str(), set.status.since_ms), ("maintenance", START_MS + 5));
    let set = state.set_agent_status(&admin_at(START_MS + 9), &added.id, Status::Maintenance, Some("disk"));
    let set = set.unwrap().status;
    assert_eq!((set.comment.as_str(), set.since_ms), ("disk", START_MS + 5));
}

#[test]
fn names_are_unique_and_a_name_that_is_taken_gets_a_number() {
    let hub = Hub::new();
    let state = hub.open();
    let names = ["web", "web", "WEB", "web", "db host"];
    let given: Vec<String> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| {
            let id = enrolled(&state, n, name);
            let state: &dyn HubState = &state;
            state.agent(&id).unwrap().unwrap().name
        })
        .collect();
    assert_eq!(given, ["web", "web-2", "WEB-3", "web-4", "db-host"]);
    let state: &dyn HubState = &state;
    let taken = state.rename_agent(&admin(), "web-2", "DB-host").unwrap_err();
    assert!(matches!(taken, HubStateError::Taken { what: "agent", .. }), "{taken}");
    assert_eq!(state.rename_agent(&admin(), "web-2", "Web-2").unwrap().name, "Web-2");
    assert!(state.rename_agent(&admin(), "web-2", "no name").is_err());
    let unknown = state.rename_agent(&admin(), "nobody\n", "x").unwrap_err();
    assert_eq!(unknown.to_string(), "there is no agent `nobody\u{fffd}`; look at the list of them");
}

#[test]
fn last_seen_goes_forward_only_and_is_batched() {
    let hub = Hub::new();
    let state = hub.open();
    let (one, two) = (enrolled(&state, 1, "one"), enrolled(&state, 2, "two"));
    let state: &dyn HubState = &state;
    let before = state.audit_head().unwrap();
    state.note_seen(&[(one.clone(), 50), (two.clone(), 60), ("gone".into(), 70)]).unwrap();
    state.note_seen(&[(one, 40), (two, 61)]).unwrap();
    let seen: Vec<_> = state.agents().unwrap().iter().map(|agent| agent.last_seen_ms).collect();
    assert_eq!(seen, [Some(50), Some(61)]);
    assert_eq!(state.audit_head().unwrap(), before);
}

#[test]
fn hello_is_remembered_and_spools_are_bounded() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    let state: &dyn HubState = &state;
    let hello = |n: u64| Hello {
        agent_id: id.clone(),
        boot_id: format!("boot {n}"),
        spool_id: format!("spool {n}"),
        version: "0.2.0".into(),
        allow_jobs: "named".into(),
        at_ms: START_MS,
    };
    for n in 0..70 {
        state.note_hellos(&[hello(n), Hello { agent_id: "stranger".into(), ..hello(n) }]).unwrap();
    }
    let agent = state.agent("one").unwrap().unwrap();
    assert_eq!((agent.boot_id.as_str(), agent.version.as_str()), ("boot 69", "0.2.0"));
    assert_eq!(
        (agent.spools.len(), agent.spools[0].as_str(), agent.spools[63].as_str()),
        (64, "spool 6", "spool 69")
    );
    assert!(state.note_hellos(&[Hello { version: "x".repeat(3_000), ..hello(1) }]).is_err());
}

#[test]
fn renewal_keeps_the_certificate_in_use_and_ends_older_ones() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    let state: &dyn HubState = &state;
    let act = Act::new(Actor::Agent(id.clone()), START_MS);
    // Two answers never arrive: the agent goes on with its first certificate.
    state.renew_certificate(&act, &id, "1", &certificate("a", "new key a")).unwrap();
    state.renew_certificate(&act, &id, "1", &certificate("b", "new key b")).unwrap();
    let agent = state.renew_certificate(&act, &id, "b", &certificate("c", "new key c")).unwrap();
    let serials: Vec<_> = agent.certificates.iter().map(|known| known.serial.as_str()).collect();
    assert_eq!((serials, agent.key), (vec!["b", "c"], key("new key c")));
    assert!(agent.accepts("b", START_MS) && !agent.accepts("1", START_MS));
    assert_eq!(state.agent_of_key(&key("new key b")).unwrap().unwrap().id, id);
    assert_eq!(state.agent_of_key(&key("key 1")).unwrap(), None);
    assert!(state.renew_certificate(&act, &id, "1", &certificate("d", "new key d")).is_err());
    for n in 0..30 {
        let renewed = certificate(&format!("ff{n}"), &format!("lost key {n}"));
        state.renew_certificate(&act, &id, "c", &renewed).unwrap();
    }
    let agent = state.agent(&id).unwrap().unwrap();
    assert!(agent.certificates.len() == 9 && agent.accepts("c", START_MS));
}

#[test]
fn another_agents_key_is_not_taken_by_renewal() {
    let hub = Hub::new();
    let state = hub.open();
    let (one, _) = (enrolled(&state, 1, "one"), enrolled(&state, 2, "two"));
    let state: &dyn HubState = &state;
    let act = Act::new(Actor::Agent(one.clone()), START_MS);
    assert!(state.renew_certificate(&act, &one, "1", &certificate("a", "key 2")).is_err());
    assert!(state.renew_certificate(&act, &one, "1", &certificate("2", "new key")).is_err());
    assert_eq!(state.agent(&one).unwrap().unwrap().certificates.len(), 1);
}

#[test]
fn settings_are_kept_and_removed() {
    let hub = Hub::new();
    {
        let state: &dyn HubState = &hub.open();
        state.set_setting(&admin(), "retention", Some("14d")).unwrap();
        assert!(state.set_setting(&admin(), "big", Some(&"x".repeat(70_000))).is_err());
    }
    let state: &dyn HubState = &hub.open();
    assert_eq!(state.setting("retention").unwrap().as_deref(), Some("14d"));
    state.set_setting(&admin(), "retention", None).unwrap();
    assert_eq!(state.setting("retention").unwrap(), None);
    assert_eq!(state.hub_id().unwrap().len(), 32);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn roles_and_labels_come_back_whatever_is_in_them(
        labels in proptest::collection::btree_map("\\PC{1,20}|[\0-\u{1f}\"'\\\\;]{1,5}", any::<String>(), 0..8),
        roles in proptest::collection::btree_set("\\PC{1,20}|[\0-\u{1f}\"'\\\\;]{1,5}", 0..8),
    ) {
        let hub = Hub::new();
        {
            let state: &dyn HubState = &hub.open();
            state.admit_agent(&admin(), &new_agent(1, "one")).unwrap();
            state.set_agent_labels(&admin(), "one", &labels).unwrap();
            state.set_agent_roles(&admin(), "one", &roles).unwrap();
        }
        let state: &dyn HubState = &hub.open();
        let agent = state.agent("one").unwrap().unwrap();
        prop_assert_eq!((agent.labels, agent.roles), (labels, roles));
        prop_assert_eq!(state.verify_audit(None).unwrap().fault, None);
    }
}
