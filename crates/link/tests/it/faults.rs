//! Bytes that were cut, changed or held back on their way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fieldpost_link::{Settings, empty};
use http::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Agent, Hub, NOW_MS, echo, everybody, face, identity, post, soon};

/// What a proxy does to the bytes of each connection, both ways together.
#[derive(Default)]
struct Fault {
    /// Ends the connection after this many bytes.
    cut_at: Option<u64>,
    /// Turns a bit of this byte.
    flip_at: Option<u64>,
    /// Swallows everything while it is set, and keeps the connections.
    black_hole: AtomicBool,
    passed: AtomicU64,
    /// All that went by.
    seen: Mutex<Vec<u8>>,
}

/// A proxy before the hub.
async fn proxy(to: SocketAddr, fault: Arc<Fault>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            fault.passed.store(0, Ordering::Relaxed);
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            let fault = Arc::clone(&fault);
            tokio::spawn(async move {
                tokio::select! {
                    () = pass(near_in, far_out, &fault) => {}
                    () = pass(far_in, near_out, &fault) => {}
                }
            });
        }
    });
    address
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    fault: &Fault,
) {
    let mut bytes = [0; 4096];
    loop {
        let n_bytes = from.read(&mut bytes).await.unwrap_or(0);
        if n_bytes == 0 && fault.black_hole.load(Ordering::Relaxed) {
            // Not even the end of one side is told to the other.
            std::future::pending::<()>().await;
        }
        if n_bytes == 0 {
            return;
        }
        fault.seen.lock().extend_from_slice(&bytes[..n_bytes]);
        let start = fault.passed.fetch_add(n_bytes as u64, Ordering::Relaxed);
        let place =
            |at: u64| at.checked_sub(start).map(|place| place as usize).filter(|place| *place < n_bytes);
        if fault.cut_at.is_some_and(|at| start + n_bytes as u64 > at) {
            let whole = fault.cut_at.and_then(place).unwrap_or(0);
            drop(to.write_all(&bytes[..whole]).await);
            return;
        }
        if let Some(place) = fault.flip_at.and_then(place) {
            bytes[place] ^= 0x10;
        }
        if !fault.black_hole.load(Ordering::Relaxed) && to.write_all(&bytes[..n_bytes]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn whoever_is_between_the_two_sees_nothing() {
    let mut hub = Hub::open().await;
    let fault = Arc::new(Fault::default());
    let address = proxy(hub.address, Arc::clone(&fault)).await;
    let url = format!("http://{address}").parse().unwrap();
    let _agent = Agent::dialling(url, identity(&hub.authority, "agent-of-the-test", NOW_MS), echo());
    let link = hub.link().await;
    let response = soon(link.client.request(post("/secret-path", "secret-body"))).await.unwrap();
    assert_eq!(response.into_body().collect(100).await.unwrap(), "secret-body");
    let seen = fault.seen.lock().clone();
    assert!(seen.len() > 1000);
    for secret in ["agent-of-the-test", "secret-path", "secret-body", "fieldpost://"] {
        assert!(!seen.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret}");
    }
}

/// Where faults are put: everywhere in the handshakes, and in the first requests.
fn places() -> impl Iterator<Item = u64> {
    (0..6000).step_by(151)
}

async fn ask_until_it_breaks(hub: &mut Hub) {
    let Ok(link) = hub.next().await else { return };
    for _ in 0..1000 {
        let asked = async {
            let response = link.client.request(post("/", vec![5; 300])).await?;
            response.into_body().collect(1000).await
        };
        match soon(asked).await {
            Ok(body) => assert_eq!(body, [5; 300][..], "changed bytes came through"),
            Err(_) => break,
        }
    }
    link.client.hang_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_anywhere_end_on_both_sides() {
    for cut_at in places() {
        let mut hub = Hub::open().await;
        let fault = Fault { cut_at: Some(cut_at), ..Fault::default() };
        let address = proxy(hub.address, Arc::new(fault)).await;
        let url = format!("http://{address}").parse().unwrap();
        let mut agent = Agent::dialling(url, identity(&hub.authority, "a1", NOW_MS), echo());
        let ask = async {
            // A cut before the WebSocket stands never comes to the hub's ears.
            tokio::select! {
                () = ask_until_it_breaks(&mut hub) => {}
                () = std::future::pending() => {}
            }
        };
        tokio::select! {
            () = ask => { agent.down().await; }
            _ = agent.down() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_never_come_through() {
    for flip_at in places().step_by(2) {
        let mut hub = Hub::open().await;
        let fault = Fault { flip_at: Some(flip_at), ..Fault::default() };
        let address = proxy(hub.address, Arc::new(fault)).await;
        let url = format!("http://{address}").parse().unwrap();
        let mut agent = Agent::dialling(url, identity(&hub.authority, "a1", NOW_MS), echo());
        tokio::select! {
            () = ask_until_it_breaks(&mut hub) => {}
            _ = agent.down() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_link_is_noticed_on_both_sides() {
    let quick = Settings {
        ping_every: Duration::from_millis(200),
        ping_patience: Duration::from_secs(1),
        ..Settings::default()
    };
    let mut quick_face = face(everybody());
    quick_face.settings = quick.clone();
    let mut hub = Hub::with(quick_face, false).await;
    let fault = Arc::new(Fault::default());
    let address = proxy(hub.address, Arc::clone(&fault)).await;
    let url = format!("http://{address}").parse().unwrap();
    let mut agent = Agent::tuned(url, identity(&hub.authority, "a1", NOW_MS), echo(), quick);
    let link = hub.link().await;
    agent.up().await;
    assert!(soon(link.client.request(Request::new(empty()))).await.is_ok());
    fault.black_hole.store(true, Ordering::Relaxed);
    let why = soon(link.client.closed()).await;
    assert!(why.contains("keep-alive"), "{why}");
    let why = agent.down().await;
    assert!(why.contains("keep-alive") || why.contains("nothing came"), "{why}");
    fault.black_hole.store(false, Ordering::Relaxed);
    let link = hub.link().await;
    assert!(soon(link.client.request(Request::new(empty()))).await.is_ok());
}
