//! Enrolment: which requests get in, and in which words the others are refused.

use std::sync::Barrier;

use fieldpost_model::hub_state::{
    Act, Actor, EnrolRefusal, Enrolment, HubState, Labels, NewAgent, NewJoinToken, Roles, SecretHash,
};

use super::{Hub, admin, admin_at, certificate, enrol, enrolled, new_agent, secret, token};
use crate::data::START_MS;

#[test]
fn token_raced_by_a_thousand_lets_in_exactly_one() {
    const N_THREADS: u64 = 1_000;
    let hub = Hub::new();
    let state = hub.open();
    token(&state, "one for one", |_| ());
    let barrier = Barrier::new(N_THREADS as usize);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let race = |n| {
            let (state, barrier) = (&state, &barrier);
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            let racer = move || {
                barrier.wait();
                enrol(state, "one for one", new_agent(n, "host"), START_MS)
            };
            thread.spawn_scoped(scope, racer).unwrap()
        };
        let racers: Vec<_> = (0..N_THREADS).map(race).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let n_in = answers.iter().filter(|answer| answer.is_ok()).count();
    let n_used_up =
        answers.iter().filter(|answer| matches!(answer, Err(EnrolRefusal::UsedUpToken { .. }))).count();
    assert_eq!((n_in, n_used_up), (1, N_THREADS as usize - 1));
    let state: &dyn HubState = &state;
    assert_eq!((state.agents().unwrap().len(), state.join_tokens().unwrap()[0].uses), (1, 1));
}

#[test]
fn same_request_raced_is_one_enrolment() {
    let hub = Hub::new();
    let state = hub.open();
    token(&state, "t", |token| token.uses = 5);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let state = &state;
        let racers: Vec<_> =
            (0..50).map(|_| scope.spawn(|| enrol(state, "t", new_agent(1, "host"), START_MS))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|enrolled| !enrolled.repeated).count(), 1);
    let state: &dyn HubState = &state;
    assert_eq!((state.agents().unwrap().len(), state.join_tokens().unwrap()[0].uses), (1, 1));
}

#[test]
fn repeat_within_ten_minutes_burns_nothing_and_later_is_refused() {
    let hub = Hub::new();
    let state = hub.open();
    // It expires in the meantime: the use was made in time.
    token(&state, "t", |token| token.ttl_ms = 60_000);
    let first = enrol(&state, "t", new_agent(1, "host"), START_MS).unwrap();
    drop(state);
    let state = hub.open();
    let again = NewAgent { certificate: certificate("new serial", "key 1"), ..new_agent(1, "host") };
    let last_ms = START_MS + Enrolment::RETRY_MS - 1;
    let second = enrol(&state, "t", again.clone(), last_ms).unwrap();
    assert_eq!((first.repeated, second.repeated), (false, true));
    assert_eq!((&first.agent.id, &first.agent.name), (&second.agent.id, &second.agent.name));
    assert!(second.agent.accepts("1", last_ms) && second.agent.accepts("new serial", last_ms));
    let late = enrol(&state, "t", again, last_ms + 1).unwrap_err();
    assert!(matches!(late, EnrolRefusal::ExpiredToken), "{late}");
    let state: &dyn HubState = &state;
    assert_eq!(state.join_tokens().unwrap()[0].uses, 1);
}

#[test]
fn refusals_are_told_apart_and_burn_nothing() {
    let hub = Hub::new();
    let state = hub.open();
    let (one, two) = (enrolled(&state, 1, "one"), enrolled(&state, 2, "two"));
    for name in ["good", "old", "spent", "revoked", "for two"] {
        token(&state, name, |token| {
            token.for_agent = (name == "for two").then(|| two.clone());
            token.ttl_ms = if name == "old" { 1 } else { token.ttl_ms };
        });
    }
    enrol(&state, "spent", new_agent(3, "three"), START_MS).unwrap();
    let state: &dyn HubState = &state;
    state.revoke_join_token(&admin(), &secret("revoked").id()).unwrap();
    let refused = |text: &str, agent: NewAgent| {
        let refusal = enrol(state, text, agent, START_MS + 1).unwrap_err();
        format!("{refusal:?}").split(['(', ' ']).next().unwrap().to_owned()
    };
    let other_key = |n: u64| NewAgent { certificate: certificate("x", "other key"), ..new_agent(n, "copy") };
    let key_of_one = NewAgent { certificate: certificate("y", "key 1"), ..new_agent(9, "copy") };
    assert_eq!(refused("guessed", new_agent(1, "one")), "UnknownToken");
    assert_eq!(refused("old", new_agent(9, "nine")), "ExpiredToken");
    assert_eq!(refused("spent", new_agent(9, "nine")), "UsedUpToken");
    let told = enrol(state, "spent", new_agent(9, "nine"), START_MS + 120_000).unwrap_err().to_string();
    assert!(told.contains("has been used, last by three 2 min 0 s ago"), "{told}");
    assert_eq!(refused("revoked", new_agent(9, "nine")), "RevokedToken");
    assert_eq!(refused("for two", new_agent(9, "nine")), "ForeignToken");
    assert_eq!(refused("good", other_key(1)), "KnownAgent");
    assert_eq!(refused("good", key_of_one), "KnownKey");
    assert_eq!(refused("good", NewAgent { id: "0".into(), ..new_agent(9, "nine") }), "State");
    state.revoke_agent(&admin(), &one).unwrap();
    assert_eq!(refused("good", new_agent(1, "one")), "RevokedAgent");
    let good = state.join_tokens().unwrap().into_iter().find(|token| token.id == secret("good").id());
    assert_eq!((good.unwrap().uses, state.agents().unwrap().len()), (0, 3));
}

#[test]
fn revoked_agent_stays_out_with_its_id_or_its_key_even_when_forgotten() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    token(&state, "t", |token| token.uses = 9);
    let state: &dyn HubState = &state;
    let revoked = state.revoke_agent(&admin_at(START_MS + 1), "one").unwrap();
    assert_eq!((revoked.revoked_ms, revoked.certificates.len()), (Some(START_MS + 1), 0));
    assert!(!revoked.is_trusted() && !revoked.accepts("1", START_MS));
    assert!(state.approve_agent(&admin(), "one").is_err());
    assert!(state.renew_certificate(&admin(), "one", "1", &certificate("n", "new key")).is_err());
    let repeat = enrol(state, "token of 1", new_agent(1, "one"), START_MS + 2).unwrap_err();
    assert!(matches!(repeat, EnrolRefusal::RevokedAgent), "{repeat}");
    state.forget_agent(&admin(), &id).unwrap();
    let same_key = NewAgent { certificate: certificate("z", "key 1"), ..new_agent(7, "one") };
    let same_id = NewAgent { certificate: certificate("z", "fresh key"), ..new_agent(1, "one") };
    for agent in [same_key, same_id] {
        let refusal = enrol(state, "t", agent, START_MS + 3).unwrap_err();
        assert!(matches!(refusal, EnrolRefusal::RevokedAgent), "{refusal}");
    }
    let fresh = NewAgent { certificate: certificate("z", "fresh key"), ..new_agent(7, "one") };
    assert_eq!(enrol(state, "t", fresh, START_MS + 3).unwrap().agent.name, "one");
}

#[test]
fn forgotten_agent_may_come_again_with_a_new_key() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    token(&state, "t", |_| ());
    let state: &dyn HubState = &state;
    state.forget_agent(&admin(), &id).unwrap();
    assert_eq!(state.agent(&id).unwrap(), None);
    // The old token's use is no repeat of an agent that is no more.
    let repeat = enrol(state, "token of 1", new_agent(1, "one"), START_MS + 1).unwrap_err();
    assert!(matches!(repeat, EnrolRefusal::UsedUpToken { .. }), "{repeat}");
    let new_key = NewAgent { certificate: certificate("n", "new key"), ..new_agent(1, "one") };
    assert!(!enrol(state, "t", new_key, START_MS + 1).unwrap().repeated);
}

#[test]
fn token_for_one_agent_gives_it_a_new_key_and_ends_the_old_one() {
    let hub = Hub::new();
    let state = hub.open();
    let id = enrolled(&state, 1, "one");
    token(&state, "again", |token| token.for_agent = Some(id.clone()));
    let state: &dyn HubState = &state;
    state.set_agent_labels(&admin(), "one", &[("site".to_owned(), "A".to_owned())].into()).unwrap();
    let new_key = NewAgent { certificate: certificate("n", "new key"), ..new_agent(1, "other name") };
    let agent = enrol(state, "again", new_key, START_MS + 1).unwrap().agent;
    assert_eq!((agent.name.as_str(), agent.labels["site"].as_str()), ("one", "A"));
    assert!(agent.accepts("n", START_MS) && !agent.accepts("1", START_MS));
}

#[test]
fn token_gives_roles_and_labels_and_wins_over_the_agent() {
    let hub = Hub::new();
    let state = hub.open();
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect::<Labels>();
    token(&state, "t", |token| {
        token.roles = Roles::from(["web".into()]);
        token.labels = labels(&[("site", "A"), ("tier", "1")]);
        token.needs_approval = true;
    });
    let mut asks = new_agent(1, "one");
    asks.roles = Roles::from(["db".into()]);
    asks.labels = labels(&[("site", "B"), ("rack", "7")]);
    let agent = enrol(&state, "t", asks, START_MS).unwrap().agent;
    assert_eq!(agent.roles, Roles::from(["db".into(), "web".into()]));
    assert_eq!(agent.labels, labels(&[("rack", "7"), ("site", "A"), ("tier", "1")]));
    assert!(!agent.approved && !agent.is_trusted());
    let state: &dyn HubState = &state;
    assert!(state.approve_agent(&admin(), "one").unwrap().is_trusted());
}

#[test]
fn tokens_that_make_no_sense_are_refused() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let refused = |change: fn(&mut NewJoinToken)| {
        let mut token = NewJoinToken::new(SecretHash([1; 32]));
        change(&mut token);
        state.add_join_token(&admin(), &token).is_err()
    };
    assert!(refused(|token| token.ttl_ms = 0));
    assert!(refused(|token| token.ttl_ms = i64::MAX));
    assert!(refused(|token| token.uses = 0));
    assert!(refused(|token| token.for_agent = Some("web-1".into())));
    assert!(refused(|token| token.roles = Roles::from([String::new()])));
    assert!(!refused(|_| ()));
    assert!(refused(|_| ()), "the same secret twice");
    assert!(state.revoke_join_token(&admin(), "none").is_err());
}

#[test]
fn expired_tokens_are_purged_but_not_what_still_counts() {
    let hub = Hub::new();
    let state = hub.open();
    token(&state, "short", |token| token.ttl_ms = 1_000);
    token(&state, "long", |_| ());
    enrol(&state, "short", new_agent(1, "one"), START_MS + 900).unwrap();
    let state: &dyn HubState = &state;
    let purge = |now_ms| state.purge_expired(&Act::new(Actor::Hub, now_ms), i64::MAX).unwrap();
    assert_eq!(purge(START_MS + 2_000), 0);
    assert!(enrol(state, "short", new_agent(1, "one"), START_MS + 2_000).unwrap().repeated);
    assert_eq!(purge(START_MS + 1_001 + Enrolment::RETRY_MS), 1);
    let left: Vec<_> = state.join_tokens().unwrap().into_iter().map(|token| token.id).collect();
    assert_eq!(left, [secret("long").id()]);
}

#[test]
fn invited_agent_is_added_without_a_token_and_repeats_are_the_same() {
    let hub = Hub::new();
    let state: &dyn HubState = &hub.open();
    let first = state.admit_agent(&admin(), &new_agent(1, "one")).unwrap();
    let second = state.admit_agent(&admin(), &new_agent(1, "one")).unwrap();
    assert_eq!((first.repeated, second.repeated), (false, true));
    assert_eq!(first.agent, second.agent);
    let other_key = NewAgent { certificate: certificate("x", "other key"), ..new_agent(1, "copy") };
    let refusal = state.admit_agent(&admin(), &other_key).unwrap_err();
    assert!(matches!(refusal, EnrolRefusal::KnownAgent(_)), "{refusal}");
}
