//! Orders: taken by one agent, settled once, called off only before they were sent, forgotten only when
//! they never came to an agent; what is secret in them goes when it is not needed any more.

use fieldpost_model::hub_state::{
    Act, Actor, Audit, HubJob, HubStateError, Order, OrderState, Ordered, Orders, Target,
};
use fieldpost_model::job::Job;

use super::Hub;
use crate::data::START_MS;

fn order(id: &str, agent: Option<&str>, state: OrderState) -> Order {
    let job = Job { name: "j".into(), command: "true".into(), ..Job::default() };
    Order {
        id: id.to_owned(),
        batch: "b".to_owned(),
        agent: agent.map(str::to_owned),
        target: Target::agent("web-1"),
        ordered: Ordered::Job(Box::new(job)),
        sealed: vec![1, 2, 3],
        by: "user:alice".to_owned(),
        created_ms: START_MS,
        expires_ms: START_MS + 1_000,
        state,
        reason: "it is not linked".to_owned(),
        changed_ms: START_MS,
        killed_by: None,
    }
}

fn by(actor: Actor) -> Act {
    Act::new(actor, START_MS + 1)
}

#[test]
fn order_is_taken_by_one_agent_and_settled_once_also_by_the_next_hub() {
    let hub = Hub::new();
    let (alice, own) = (by(Actor::User("alice".into())), by(Actor::Hub));
    {
        let state = hub.open();
        let any = [order("any", None, OrderState::Waiting), order("a", Some("a"), OrderState::Waiting)];
        state.add_orders(&alice, &any).unwrap();
        let again = [order("new", None, OrderState::Waiting), order("a", None, OrderState::Waiting)];
        assert!(matches!(state.add_orders(&alice, &again), Err(HubStateError::Taken { .. })));
        assert!(state.order("new").unwrap().is_none(), "all of them or none");
        assert!(state.claim_order("any", "b", START_MS).unwrap());
        assert!(
            !state.claim_order("any", "a", START_MS).unwrap() && !state.claim_order("a", "b", 0).unwrap()
        );
    }
    let state = hub.open();
    let ids = |agent: &str| -> Vec<String> {
        state.orders_for(agent).unwrap().into_iter().map(|order| order.id).collect()
    };
    assert_eq!((ids("a"), ids("b")), (vec!["a".to_owned()], vec!["any".to_owned()]));
    assert!(!state.settle_order(&alice, "any", OrderState::Cancelled, "").unwrap(), "it was sent");
    assert!(state.settle_order(&alice, "a", OrderState::Cancelled, "called off").unwrap());
    state.wish_order_killed(&alice, "any", Some("alice")).unwrap();
    assert!(state.settle_order(&own, "any", OrderState::Delivered, "").unwrap());
    assert!(!state.settle_order(&own, "any", OrderState::Refused, "").unwrap(), "settled once");
    assert_eq!(ids("b"), ["any"], "its end is still wanted");
    state.wish_order_killed(&own, "any", None).unwrap();
    let kept = state.order("any").unwrap().unwrap();
    assert_eq!((ids("b").len(), kept.sealed.len(), kept.agent.as_deref()), (0, 0, Some("b")));
    assert_eq!(state.undelivered_orders(false).unwrap().len(), 1, "the one that was called off");
    assert!(!state.remove_order(&alice, "any").unwrap(), "its run is the agent's");
    assert!(state.remove_order(&alice, "a").unwrap() && !state.remove_order(&alice, "a").unwrap());
    let did: Vec<String> = state.audit(None, 10).unwrap().into_iter().map(|entry| entry.action).collect();
    assert_eq!(did, ["run.remove", "run.kill", "run.settle", "run.order"], "what people did");
}

#[test]
fn jobs_of_the_hub_are_kept_by_their_names() {
    let hub = Hub::new();
    let alice = by(Actor::User("alice".into()));
    let job = |name: &str, paused| HubJob {
        job: Job {
            name: name.into(),
            command: "true".into(),
            every: Some("1h".parse().unwrap()),
            ..Job::default()
        },
        target: Target::agent("web-1"),
        paused,
        chosen: None,
        by: "user:alice".into(),
        changed_ms: START_MS,
    };
    let state = hub.open();
    state.put_hub_job(&alice, &job("beat", false)).unwrap();
    state.put_hub_job(&alice, &job("beat", true)).unwrap();
    assert!(state.put_hub_job(&alice, &job("", false)).is_err());
    drop(state);
    let state = hub.open();
    assert_eq!(state.hub_jobs().unwrap(), [job("beat", true)]);
    state.remove_hub_job(&alice, "beat").unwrap();
    assert!(matches!(state.remove_hub_job(&alice, "beat"), Err(HubStateError::Unknown { .. })));
}
