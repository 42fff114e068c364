//! The outer TLS ended by a real nginx: the link goes through, and its end is noticed.

use std::net::TcpStream;
use std::path::Path;

use fieldpost_bed::{Process, Scratch, free_port, peer};
use fieldpost_link::JoinString;

use crate::bed::{Agent, Hub, NOW_MS, echo, identity, post, soon};

/// What people write who put nginx before a hub: an upgrade passed on, and no buffering.
fn config(hub: &Hub, port: u16) -> String {
    let upstream = hub.address;
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr notice;
        events {{ worker_connections 100; }}
        http {{
            access_log off;
            client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
            uwsgi_temp_path temp; scgi_temp_path temp;
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate chain.pem; ssl_certificate_key key.pem;
                location /mon/ {{
                    proxy_pass http://{upstream}/;
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade;
                    proxy_buffering off;
                }}
                location /deaf/ {{ proxy_pass http://{upstream}/; }}
            }}
        }}"
    )
}

fn start(hub: &Hub, scratch: &Path, port: u16) -> Process {
    std::fs::write(scratch.join("nginx.conf"), config(hub, port)).unwrap();
    std::fs::write(scratch.join("chain.pem"), &hub.identity.chain).unwrap();
    std::fs::write(scratch.join("key.pem"), &hub.identity.key).unwrap();
    let folder = format!("{}/", scratch.display());
    let arguments = ["-p", folder.as_str(), "-c", "nginx.conf"];
    let program = peer("nginx-light", "usr/sbin/nginx").unwrap();
    let mut nginx = Process::start("nginx", &program, &arguments, &[], scratch).unwrap();
    nginx.until("its port", || TcpStream::connect(("127.0.0.1", port)).ok()).unwrap();
    nginx
}

#[tokio::test]
async fn the_link_goes_through_a_proxy_that_ends_the_outer_tls() {
    let mut hub = Hub::open().await;
    let scratch = Scratch::new().unwrap();
    let port = free_port().unwrap();
    let nginx = start(&hub, scratch.path(), port);
    let url = format!("https://localhost:{port}/mon").parse().unwrap();
    let mut agent = Agent::dialling(url, identity(&hub.authority, "a1", NOW_MS), echo());
    let link = hub.link().await;
    agent.up().await;
    for n_bytes in [0, 1, 100_000, 3_000_000] {
        let response = soon(link.client.request(post("/v1/x", vec![n_bytes as u8; n_bytes]))).await.unwrap();
        let body = soon(response.into_body().collect(4 << 20)).await.unwrap();
        assert!(body == vec![n_bytes as u8; n_bytes]);
    }
    drop(nginx);
    soon(link.client.closed()).await;
    agent.down().await;
    let _again = start(&hub, scratch.path(), port);
    assert!(soon(hub.link().await.client.request(post("/", ""))).await.is_ok());
}

#[tokio::test]
async fn a_proxy_that_passes_no_websocket_is_named() {
    let hub = Hub::open().await;
    let scratch = Scratch::new().unwrap();
    let port = free_port().unwrap();
    let _nginx = start(&hub, scratch.path(), port);
    let deaf = format!("https://127.0.0.1:{port}/deaf").parse().unwrap();
    let mut agent = Agent::dialling(deaf, identity(&hub.authority, "a1", NOW_MS), echo());
    let told = agent.down().await;
    assert!(told.contains("does the proxy before it pass WebSockets"), "{told}");
    // The same answer for whoever wants to join there.
    let token = fieldpost_link::Token::random().unwrap();
    let urls = vec![format!("https://localhost:{port}/nowhere").parse().unwrap()];
    let word = JoinString { urls, pin: hub.authority.pin(), token };
    let request = crate::enrol::nobodys_request(&word.token);
    let error = soon(fieldpost_link::join_hub(&word, &request)).await.err().unwrap();
    assert!(error.to_string().contains("answered 404"), "{error}");
}
