//! Users, their sessions and tokens, and the one way to the first admin.

use std::sync::Barrier;

use fieldpost_model::hub_state::{
    Act, Actor, HubState, HubStateError, NewApiToken, NewSession, NewUser, PasswordHash, Role, Scope,
    SignInRefusal,
};

use super::{Hub, admin, admin_at, secret};
use crate::data::START_MS;

fn user(name: &str, role: Role) -> NewUser {
    NewUser { name: name.into(), password: None, role }
}

fn session(text: &str, user: &str) -> NewSession {
    NewSession { secret: secret(text), user: user.into(), expires_ms: START_MS + 1_000 }
}

fn api_token(text: &str, owner: Option<&str>, scope: Scope) -> NewApiToken {
    let owner = owner.map(str::to_owned);
    NewApiToken { secret: secret(text), name: text.into(), owner, scope, expires_ms: Some(START_MS + 1_000) }
}

fn hash(salt: &str) -> PasswordHash {
    PasswordHash::from_phc(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$aGFzaA")).unwrap()
}

#[test]
fn first_admin_is_made_once_by_whoever_comes_first() {
    let hub = Hub::new();
    let state = hub.open();
    let shared: &dyn HubState = &state;
    shared.offer_first_admin(&admin(), &secret("older"), START_MS + 9).unwrap();
    shared.offer_first_admin(&admin(), &secret("link"), START_MS + 9).unwrap();
    let claim = |text: &str, n: usize, now_ms| {
        let act = Act::new(Actor::Stranger, now_ms);
        shared.claim_first_admin(&act, &secret(text), &user(&format!("admin{n}"), Role::Admin))
    };
    assert!(matches!(claim("older", 0, START_MS), Err(SignInRefusal::Unknown)), "replaced");
    assert!(matches!(claim("link", 0, START_MS + 9), Err(SignInRefusal::Expired)));
    let barrier = Barrier::new(20);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let (claim, barrier) = (&claim, &barrier);
        let race = |n| {
            scope.spawn(move || {
                barrier.wait();
                claim("link", n, START_MS)
            })
        };
        let racers: Vec<_> = (0..20).map(race).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(shared.users().unwrap().len(), 1);
    let again = shared.offer_first_admin(&admin(), &secret("second"), START_MS + 9).unwrap_err();
    assert!(matches!(again, HubStateError::AdminExists), "{again}");
}

#[test]
fn first_admin_is_not_offered_where_somebody_was_made_admin_otherwise() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.offer_first_admin(&admin(), &secret("link"), START_MS + 9).unwrap();
    state.add_user(&admin(), &user("bob", Role::Admin)).unwrap();
    let late = state.claim_first_admin(&admin(), &secret("link"), &user("eve", Role::Admin)).unwrap_err();
    assert!(matches!(late, SignInRefusal::State(HubStateError::AdminExists)), "{late}");
    let viewer = state.claim_first_admin(&admin(), &secret("link"), &user("eve", Role::Viewer));
    assert!(viewer.is_err());
}

#[test]
fn last_admin_stays() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    state.add_user(&admin(), &user("bob", Role::Admin)).unwrap();
    state.set_disabled(&admin(), "bob", true).unwrap();
    let refusals = [
        state.set_role(&admin(), "alice", Role::Viewer).err(),
        state.set_disabled(&admin(), "Alice", true).err(),
        state.remove_user(&admin(), "alice").err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(HubStateError::LastAdmin(_))), "{refusal:?}");
    }
    state.remove_user(&admin(), "bob").unwrap();
    state.add_user(&admin(), &user("carol", Role::Admin)).unwrap();
    assert_eq!(state.set_role(&admin(), "alice", Role::Operator).unwrap().role, Role::Operator);
}

#[test]
fn user_names_are_unique_and_passwords_kept_as_hashes() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let made =
        state.add_user(&admin(), &NewUser { password: Some(hash("c2FsdA")), ..user("Bob", Role::Viewer) });
    assert!(made.unwrap().has_password);
    assert!(matches!(
        state.add_user(&admin(), &user("bob", Role::Viewer)),
        Err(HubStateError::Taken { what: "user", .. })
    ));
    assert!(state.add_user(&admin(), &user("b o b", Role::Viewer)).is_err());
    assert_eq!(state.password_of("bob").unwrap(), Some(hash("c2FsdA")));
    assert_eq!(state.password_of("nobody").unwrap(), None);
    state.set_disabled(&admin(), "bob", true).unwrap();
    assert_eq!(state.password_of("bob").unwrap(), None);
}

#[test]
fn session_counts_until_it_expires_is_ended_or_its_user_is_out() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    state.add_user(&admin(), &user("bob", Role::Operator)).unwrap();
    let begun = state.begin_session(&admin(), &session("cookie", "BOB")).unwrap();
    assert_eq!((begun.user.as_str(), begun.role), ("bob", Role::Operator));
    let found = |text: &str, now_ms| state.session(&secret(text), now_ms).unwrap();
    assert_eq!(found("cookie", START_MS + 999), Some(begun));
    assert_eq!(found("cookie", START_MS + 1_000), None);
    assert_eq!(found("guess", START_MS), None);
    state.set_role(&admin(), "bob", Role::Viewer).unwrap();
    assert_eq!(found("cookie", START_MS).unwrap().role, Role::Viewer);
    state.end_session(&admin(), &secret("cookie").id()).unwrap();
    assert_eq!(found("cookie", START_MS), None);
    assert!(state.end_session(&admin(), &secret("cookie").id()).is_err());
    state.begin_session(&admin(), &session("cookie 2", "bob")).unwrap();
    state.set_password(&admin(), "bob", &hash("bmV3")).unwrap();
    assert_eq!(found("cookie 2", START_MS), None);
    state.begin_session(&admin(), &session("cookie 3", "bob")).unwrap();
    state.set_disabled(&admin(), "bob", true).unwrap();
    assert_eq!(found("cookie 3", START_MS), None);
    assert!(state.begin_session(&admin(), &session("cookie 4", "bob")).is_err());
    assert!(state.begin_session(&admin(), &session("cookie 5", "nobody")).is_err());
    assert!(state.begin_session(&admin_at(START_MS + 1_000), &session("cookie 6", "alice")).is_err());
}

#[test]
fn sessions_of_one_user_are_bounded() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    for n in 0..70 {
        state.begin_session(&admin(), &session(&format!("cookie {n}"), "alice")).unwrap();
    }
    let sessions = state.sessions_of("alice", START_MS).unwrap();
    assert_eq!((sessions.len(), sessions[0].id.as_str()), (64, secret("cookie 69").id().as_str()));
    assert_eq!(state.session(&secret("cookie 0"), START_MS).unwrap(), None);
}

#[test]
fn sign_in_link_works_once_for_its_own_user() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    state.add_user(&admin(), &user("bob", Role::Viewer)).unwrap();
    for link in ["link", "late", "dead"] {
        state.offer_sign_in(&admin(), "bob", &secret(link), START_MS + 500).unwrap();
    }
    let redeem = |link: &str, now_ms| {
        let act = Act::new(Actor::Stranger, now_ms);
        state.redeem_sign_in(&act, &secret(link), &session(&format!("by {link}"), "alice"))
    };
    let begun = redeem("link", START_MS).unwrap();
    assert_eq!((begun.user.as_str(), begun.role), ("bob", Role::Viewer));
    assert!(matches!(redeem("link", START_MS), Err(SignInRefusal::Unknown)));
    assert!(matches!(redeem("late", START_MS + 500), Err(SignInRefusal::Expired)));
    assert!(matches!(redeem("guess", START_MS), Err(SignInRefusal::Unknown)));
    state.set_disabled(&admin(), "bob", true).unwrap();
    assert!(matches!(redeem("dead", START_MS), Err(SignInRefusal::Unknown)), "it went with the disabling");
    state.offer_sign_in(&admin(), "bob", &secret("new"), START_MS + 500).unwrap();
    assert!(matches!(redeem("new", START_MS), Err(SignInRefusal::Disabled)));
    assert!(state.offer_sign_in(&admin(), "nobody", &secret("x"), START_MS + 500).is_err());
}

#[test]
fn api_token_is_never_more_than_its_owner() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    state.add_user(&admin(), &user("bob", Role::Operator)).unwrap();
    let scope_of = |text: &str| {
        let token = state.api_token(&secret(text), START_MS).unwrap();
        token.map(|token| token.scope)
    };
    state.add_api_token(&admin(), &api_token("bobs", Some("bob"), Scope::Role(Role::Admin))).unwrap();
    state.add_api_token(&admin(), &api_token("hubs", None, Scope::Ingest)).unwrap();
    assert_eq!(scope_of("bobs"), Some(Scope::Role(Role::Operator)));
    assert_eq!(scope_of("hubs"), Some(Scope::Ingest));
    assert_eq!(scope_of("guess"), None);
    assert_eq!(state.api_token(&secret("hubs"), START_MS + 1_000).unwrap(), None);
    state.set_role(&admin(), "bob", Role::Viewer).unwrap();
    assert_eq!(scope_of("bobs"), Some(Scope::Role(Role::Viewer)));
    state.set_disabled(&admin(), "bob", true).unwrap();
    assert_eq!(scope_of("bobs"), None);
    state.revoke_api_token(&admin_at(START_MS + 3), &secret("hubs").id()).unwrap();
    assert_eq!(scope_of("hubs"), None);
    let listed = state.api_tokens().unwrap();
    let hubs = listed.iter().find(|token| token.name == "hubs").unwrap();
    assert_eq!(hubs.revoked_ms, Some(START_MS + 3));
    state.remove_user(&admin(), "bob").unwrap();
    assert_eq!(state.api_tokens().unwrap().len(), 1);
    assert!(state.add_api_token(&admin(), &api_token("x", Some("nobody"), Scope::Ingest)).is_err());
    assert!(state.revoke_api_token(&admin(), "none").is_err());
}

#[test]
fn uses_are_noted_in_one_go() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    state.add_user(&admin(), &user("alice", Role::Admin)).unwrap();
    state.begin_session(&admin(), &session("cookie", "alice")).unwrap();
    state.add_api_token(&admin(), &api_token("token", None, Scope::Ingest)).unwrap();
    let used = [(secret("cookie").id(), START_MS + 7), (secret("token").id(), START_MS + 8)];
    state.note_used(&used).unwrap();
    state.note_used(&[(secret("token").id(), START_MS + 2)]).unwrap();
    assert_eq!(state.session(&secret("cookie"), START_MS).unwrap().unwrap().last_used_ms, START_MS + 7);
    assert_eq!(state.api_tokens().unwrap()[0].last_used_ms, Some(START_MS + 8));
}
