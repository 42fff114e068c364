//! States that earlier versions wrote: each opens, with all that is in it.

use fieldpost_model::hub_state::{HubState, Labels, Mode, Role, Scope, Status};
use fieldpost_store::SqliteHubState;
use rusqlite::Connection;

use super::{Hub, secret};
use crate::data::START_MS;

/// A folder with a state that was written by this version.
fn hub_of(version: &str) -> Hub {
    let hub = Hub::new();
    hub.raw().execute_batch(version).unwrap();
    hub
}

/// Tables, indexes and triggers with their words.
fn schema(connection: &Connection) -> Vec<(String, String)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn version_1_opens_with_all_that_is_in_it() {
    let hub = hub_of(include_str!("versions/1.sql"));
    let state: &dyn HubState = &hub.open();
    let agents = state.agents().unwrap();
    let (first, second) = (&agents[0], &agents[1]);
    assert_eq!((first.name.as_str(), first.status.status, first.approved), ("web-1", Status::Offline, true));
    assert_eq!(first.labels, Labels::from([("site".to_owned(), "A\0\"é".to_owned())]));
    assert_eq!(first.mode, Mode::Poll { address: "web-1:9200".into(), interval_seconds: 300 });
    assert_eq!((first.last_seen_ms, &first.spools[..]), (Some(START_MS + 7), &["s".to_owned()][..]));
    assert!(first.accepts("1", START_MS) && second.revoked_ms.is_some() && !second.accepts("2", START_MS));
    assert_eq!(state.join_tokens().unwrap()[0].uses, 2);
    assert_eq!(state.session(&secret("cookie"), START_MS).unwrap().unwrap().role, Role::Admin);
    assert_eq!(state.api_token(&secret("api"), START_MS).unwrap().unwrap().scope, Scope::Ingest);
    assert_eq!(state.setting("retention").unwrap().as_deref(), Some("14d"));
    let verdict = state.verify_audit(None).unwrap();
    assert_eq!((verdict.n_good, verdict.fault), (state.audit_head().unwrap().seq, None));
}

#[test]
fn upgraded_state_has_the_schema_of_a_new_one() {
    let (new, old) = (Hub::new(), hub_of(include_str!("versions/1.sql")));
    for hub in [&new, &old] {
        drop(SqliteHubState::open(hub.folder.path()).unwrap());
    }
    assert_eq!(schema(&old.raw()), schema(&new.raw()));
}
