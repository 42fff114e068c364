//! The agent's loop: down, up, and down again.

use std::sync::atomic::Ordering;

use fieldpost_link::{LinkState, Refusal, RefusalCode};

use crate::bed::{Agent, HUB_ID, Hub, NOW_MS, echo, face, identity, post, soon};

#[tokio::test]
async fn the_state_says_what_is_so() {
    let mut hub = Hub::open().await;
    let mut agent = hub.agent("a1");
    agent.up().await;
    match &*agent.state.borrow() {
        LinkState::Up { since_ms, welcome } => {
            assert_eq!((*since_ms, welcome.hub_id.as_str(), welcome.time_ms), (NOW_MS, HUB_ID, NOW_MS));
        }
        other => panic!("{other:?}"),
    }
    let link = hub.link().await;
    hub.stop.cancel();
    link.client.hang_up();
    let why = agent.down().await;
    assert!(!why.is_empty());
    assert!(matches!(&*agent.state.borrow(), LinkState::Down { refused: None, since_ms: NOW_MS, .. }));
}

#[tokio::test]
async fn it_comes_back_whenever_the_hub_does() {
    let mut hub = Hub::open().await;
    let agent = hub.agent("a1");
    for _ in 0..5 {
        hub.link().await.client.hang_up();
    }
    let link = hub.link().await;
    // The answer comes after the agent has counted.
    assert!(soon(link.client.request(post("/", ""))).await.is_ok());
    assert_eq!(agent.stats.n_ups.load(Ordering::Relaxed), 6);
    assert!(agent.stats.n_dials.load(Ordering::Relaxed) >= 6);
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again() {
    let refusing = face(std::sync::Arc::new(|_, _| Err(Refusal::new(RefusalCode::Busy, "come back later"))));
    let mut hub = Hub::with(refusing, false).await;
    let mut agent = hub.agent("a1");
    assert_eq!(agent.down().await, "refused: come back later");
    assert!(matches!(&*agent.state.borrow(), LinkState::Down { refused: Some(RefusalCode::Busy), .. }));
    for _ in 0..3 {
        assert!(hub.next().await.is_err());
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    // While it waits for the next try.
    let hub = Hub::open().await;
    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let mut agent = Agent::dialling(nobody, identity(&hub.authority, "a1", NOW_MS), echo());
    agent.down().await;
    agent.end().await;
    // While the link is up.
    let mut agent = hub.agent("a1");
    agent.up().await;
    agent.end().await;
    // While somebody lets it wait for an answer.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let agent = Agent::dialling(silent, identity(&hub.authority, "a1", NOW_MS), echo());
    let (_stream, _) = soon(listener.accept()).await.unwrap();
    agent.end().await;
}
