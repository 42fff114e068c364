//! Agents that wait to be dialled.

use std::sync::Arc;

use fieldpost_link::{Authority, Identity, LinkError, Refusal, RefusalCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{HUB_ID, ListeningAgent, NOW_MS, face, identity, nobody, post, soon};

async fn waiting(identity: Identity) -> ListeningAgent {
    ListeningAgent::open("a1", Arc::new(Mutex::new(Some(identity))), None, nobody()).await
}

#[tokio::test]
async fn a_hub_dials_asks_and_hangs_up_as_often_as_it_likes() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    for n in 0..3 {
        let link = agent.dialled_by(&authority, &agent.address, "a1").await.unwrap();
        let response = soon(link.client.request(post("/v1/record", format!("{n}")))).await.unwrap();
        assert_eq!(response.into_body().collect(100).await.unwrap(), format!("{n}"));
    }
}

#[tokio::test]
async fn the_agent_that_answers_must_be_the_one_that_was_dialled() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let error = agent.dialled_by(&authority, &agent.address, "a2").await.err().unwrap();
    assert!(matches!(error, LinkError::OtherAgent { .. }), "{error}");
}

#[tokio::test]
async fn a_hub_of_another_authority_gets_nothing() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let other = Authority::create("hub-2", NOW_MS).unwrap();
    let error = agent.dialled_by(&other, &agent.address, "a1").await.err().unwrap();
    assert!(error.to_string().contains("no certificate for us, or no open invitation"), "{error}");
}

#[tokio::test]
async fn another_agent_cannot_pose_as_the_hub() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let impostor = identity(&authority, "a2", NOW_MS);
    let error = agent.dialled_with(&impostor, &agent.address, "a1", face(Arc::new(|_, _| Ok(())))).await;
    let error = error.err().unwrap();
    assert!(error.to_string().contains("does not take our certificate"), "{error}");
}

#[tokio::test]
async fn an_agent_serves_two_hubs_each_under_its_own_identity() {
    let (one, other) =
        (Authority::create("hub-1", NOW_MS).unwrap(), Authority::create("hub-2", NOW_MS).unwrap());
    let agent = ListeningAgent::of_two(identity(&one, "a1", NOW_MS), identity(&other, "a1", NOW_MS)).await;
    let (first, second) = (
        agent.dialled_by(&one, &agent.address, "a1").await.unwrap(),
        agent.dialled_by(&other, &agent.address, "a1").await.unwrap(),
    );
    assert_ne!(first.peer.serial, second.peer.serial);
    // A hub of one house with the name of the other in its mouth.
    let mut mixed = one.issue_hub("hub-1", NOW_MS).unwrap();
    mixed.ca = other.certificate_pem().to_owned();
    let refused = agent.dialled_with(&mixed, &agent.address, "a1", face(Arc::new(|_, _| Ok(())))).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_hub_that_refuses_says_so_to_the_agent_it_dialled() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let refusing =
        face(Arc::new(|_, _| Err(Refusal::new(RefusalCode::Cloned, "two hosts have this identity"))));
    let hub = authority.issue_hub(HUB_ID, NOW_MS).unwrap();
    let error = agent.dialled_with(&hub, &agent.address, "a1", refusing).await.err().unwrap();
    assert!(matches!(error, LinkError::Refused(refusal) if refusal.code == RefusalCode::Cloned));
}

#[tokio::test]
async fn garbage_hangs_nothing() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let mut silent = Vec::new();
    for garbage in [&b"GET /metrics HTTP/1.1\r\n\r\n"[..], &[0; 5000], b""] {
        let mut stream = TcpStream::connect((agent.address.host(), agent.address.port())).await.unwrap();
        drop(stream.write_all(garbage).await);
        if garbage.is_empty() {
            silent.push(stream);
        } else {
            soon(async { while stream.read_u8().await.is_ok() {} }).await;
        }
    }
    assert!(agent.dialled_by(&authority, &agent.address, "a1").await.is_ok());
}

#[tokio::test]
async fn the_end_of_the_agent_ends_its_links() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let agent = waiting(identity(&authority, "a1", NOW_MS)).await;
    let link = agent.dialled_by(&authority, &agent.address, "a1").await.unwrap();
    agent.stop.cancel();
    soon(link.client.closed()).await;
    assert!(agent.dialled_by(&authority, &agent.address, "a1").await.is_err());
}
