//! An HTTP proxy between the agent and the hub.

use std::net::SocketAddr;

use fieldpost_link::{Proxy, dial_hub};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Hub, everybody, face, soon};

/// A proxy that lets `ann:secret` through, and answers others with `refusal`.
async fn proxy(refusal: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                if !head.contains("Proxy-Authorization: Basic YW5uOnNlY3JldA==") {
                    drop(near.write_all(refusal.as_bytes()).await);
                    return;
                }
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
                let mut far = TcpStream::connect(target).await.unwrap();
                near.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
                drop(copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn the_carrier_goes_through_a_proxy() {
    for outer_tls in [false, true] {
        let hub = Hub::with(face(everybody()), outer_tls).await;
        let url = hub.url().to_string();
        let url = if outer_tls { url.replace("http:", "https:") } else { url }.parse().unwrap();
        let proxy: Proxy = format!("http://ann:secret@{}", proxy("").await).parse().unwrap();
        assert!(soon(dial_hub(&url, Some(&proxy))).await.is_ok());
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let hub = Hub::open().await;
    let refusals = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered 407 when asked for 127.0.0.1:"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "answered 0"),
        ("HTTP/1.1 200 cut", "broke while asking the proxy"),
    ];
    for (refusal, words) in refusals {
        let proxy: Proxy = format!("http://{}", proxy(refusal).await).parse().unwrap();
        let error = soon(dial_hub(&hub.url(), Some(&proxy))).await.err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}
