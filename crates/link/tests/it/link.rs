//! Requests, bodies and ends of a link that works.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fieldpost_link::{
    Client, FrameReader, Handler, Incoming, LinkError, Role, Settings, empty, encode, handler,
};
use fieldpost_model::{Frame, Item};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::service::service_fn;

use crate::bed::{Agent, Hub, NOW_MS, echo, everybody, face, identity, post, soon};

const BYTES_MAX: usize = 1 << 20;

#[tokio::test]
async fn requests_flow_from_the_hub_to_the_agent() {
    for outer_tls in [false, true] {
        let mut hub = Hub::with(face(everybody()), outer_tls).await;
        let url = format!("{}://{}", if outer_tls { "https" } else { "http" }, hub.address);
        let url = url.replace("127.0.0.1", "localhost").parse().unwrap();
        let mut agent = Agent::dialling(url, identity(&hub.authority, "a1", NOW_MS), echo());
        let link = hub.link().await;
        assert_eq!((link.peer.role, link.peer.id.as_str()), (Role::Agent, "a1"));
        assert_eq!((link.protocol, link.hello.spool_ids[0].as_str()), (1, "spool-1"));
        for n in 0..20 {
            let response =
                soon(link.client.request(post(&format!("/v1/{n}"), format!("body {n}")))).await.unwrap();
            assert_eq!(response.headers()["path"], format!("/v1/{n}"));
            let body = response.into_body().collect(BYTES_MAX).await.unwrap();
            assert_eq!(body, format!("body {n}"));
        }
        agent.up().await;
        assert_eq!(link.client.n_requests(), 20);
        assert!(link.client.traffic().sent() > 200 && agent.stats.traffic.received() > 200);
    }
}

#[tokio::test]
async fn many_requests_at_once_all_get_their_own_answer() {
    let mut hub = Hub::open().await;
    let _agent = hub.agent("a1");
    let link = hub.link().await;
    let all = (0..500).map(|n| {
        let client = link.client.clone();
        tokio::spawn(async move {
            let response = client.request(post("/", format!("{n}"))).await.unwrap();
            assert_eq!(response.into_body().collect(BYTES_MAX).await.unwrap(), format!("{n}"));
        })
    });
    for one in all.collect::<Vec<_>>() {
        soon(one).await.unwrap();
    }
    assert_eq!(link.client.n_open(), 0);
}

/// Answers without end, and counts how many bytes were taken from it.
fn endless(n_bytes: Arc<AtomicU64>) -> Handler {
    handler(service_fn(move |_: Request<Incoming>| {
        let n_bytes = Arc::clone(&n_bytes);
        let pieces = futures_util::stream::repeat_with(move || {
            n_bytes.fetch_add(1000, Ordering::Relaxed);
            Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from_static(&[7; 1000])))
        });
        async { Ok::<_, Infallible>(Response::new(StreamBody::new(pieces))) }
    }))
}

async fn until_still(counter: &AtomicU64) -> u64 {
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = counter.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_waits_and_freezes_no_other() {
    let mut hub = Hub::open().await;
    let taken = Arc::new(AtomicU64::new(0));
    let _agent =
        Agent::dialling(hub.url(), identity(&hub.authority, "a1", NOW_MS), endless(Arc::clone(&taken)));
    let client = hub.link().await.client;
    let mut unread = Vec::new();
    for _ in 0..10 {
        unread.push(client.request(Request::new(empty())).await.unwrap());
    }
    let n_bytes = soon(until_still(&taken)).await;
    assert!(n_bytes < 10 * 300_000, "{n_bytes} bytes were made that nobody reads");
    let mut read = client.request(Request::new(empty())).await.unwrap().into_body();
    for _ in 0..1000 {
        assert!(soon(read.chunk()).await.unwrap().is_some());
    }
    assert_eq!(client.n_open(), 11);
    drop((unread, read));
    assert_eq!(client.n_open(), 0);
    assert!(soon(until_still(&taken)).await > n_bytes);
}

#[tokio::test]
async fn all_places_taken_is_said_rather_than_waited_for() {
    let mut settings = Settings { streams_max: 2, ..Settings::default() };
    settings.place_patience = std::time::Duration::from_millis(10);
    let mut hub_face = face(everybody());
    hub_face.settings = settings;
    let mut hub = Hub::with(hub_face, false).await;
    let agent_id = identity(&hub.authority, "a1", NOW_MS);
    let _agent = Agent::dialling(hub.url(), agent_id, endless(Arc::default()));
    let client = hub.link().await.client;
    let open = |client: Client| async move { client.request(Request::new(empty())).await };
    let (_one, _two) = (open(client.clone()).await.unwrap(), open(client.clone()).await.unwrap());
    assert!(matches!(open(client).await, Err(LinkError::Busy(2))));
}

#[tokio::test]
async fn frames_come_out_as_they_went_in() {
    let item = |seq| Item { seq, from_ms: 1, to_ms: 2, n_samples: 3, checksum: 4, blob: vec![9; 20_000] };
    let frames: Vec<Frame> = std::iter::once(Frame::Scope("s".to_owned()))
        .chain((1..100).map(|seq| Frame::Item(item(seq))))
        .chain([Frame::Newest(99)])
        .collect();
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| encode(frame, &mut bytes).unwrap());
    let cut = bytes.len() - 3;
    let mut hub = Hub::open().await;
    let _agent = hub.agent("a1");
    let client = hub.link().await.client;
    let response = client.request(post("/", bytes.clone())).await.unwrap();
    let mut reader = FrameReader::new(response.into_body());
    for frame in &frames {
        assert_eq!(soon(reader.next()).await.unwrap().as_ref(), Some(frame));
    }
    assert_eq!(soon(reader.next()).await.unwrap(), None);
    bytes.truncate(cut);
    let mut reader = FrameReader::new(client.request(post("/", bytes)).await.unwrap().into_body());
    for _ in 1..frames.len() {
        assert!(soon(reader.next()).await.unwrap().is_some());
    }
    assert!(matches!(soon(reader.next()).await, Err(LinkError::Frames(_))));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_error() {
    let mut hub = Hub::open().await;
    let _agent = hub.agent("a1");
    let client = hub.link().await.client;
    let response = client.request(post("/", vec![0; 5000])).await.unwrap();
    assert!(matches!(response.into_body().collect(4999).await, Err(LinkError::TooLong(4999))));
}

#[tokio::test]
async fn the_end_is_noticed_on_both_sides() {
    let mut hub = Hub::open().await;
    let mut agent = hub.agent("a1");
    let link = hub.link().await;
    agent.up().await;
    link.client.hang_up();
    assert_eq!(soon(link.client.closed()).await, "this side ended it");
    assert!(link.client.is_closed());
    let error = soon(link.client.request(post("/", ""))).await.err().unwrap();
    assert!(matches!(error, LinkError::Closed(_)), "{error}");
    agent.down().await;
    let link = hub.link().await;
    agent.stop.cancel();
    soon(link.client.closed()).await;
}

#[tokio::test]
async fn a_link_ends_with_its_last_client() {
    let mut hub = Hub::open().await;
    let mut agent = hub.agent("a1");
    let link = hub.link().await;
    agent.up().await;
    drop(link);
    agent.down().await;
}
