//! A hub within the test, on scratch folders, with its real doors; and a client that sends any
//! request, as HTTP/1.0, so that an answer ends where its connection does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldpost::api::{self, Listener};
use fieldpost::hub::{Hub, HubOptions, Labels, LocalDoor, Reloaded, Status};
use fieldpost_bed::Scratch;
use fieldpost_link::Token;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, Actor, Certificate, Fingerprint, Mode, NewAgent, NewApiToken, NewSession, NewUser, Role, Scope,
};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::{SqliteHubRuns, SqliteHubState, secret_hash};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::document::assert_described;

/// The hub's clock stands still here.
pub const NOW_MS: TimeMs = 1_800_000_000_000;
const HOUR_MS: TimeMs = 3_600_000;

/// A hub, and where its doors are.
pub struct Stage {
    pub hub: Arc<Hub>,
    pub address: SocketAddr,
    pub socket: PathBuf,
    shutdown: CancellationToken,
    _runtime: Runtime,
    _scratch: Scratch,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// An answer: all of it, or its head where it has no end.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The word of a problem document.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["status"], self.status);
        json["code"].as_str().unwrap().to_owned()
    }
}

impl Stage {
    pub fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        let data = scratch.path().to_path_buf();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let inside = runtime.enter();
        let state = SqliteHubState::open(&data).unwrap();
        let (store, _) = HubStore::open(HubStoreOptions::new(data.join("record"))).unwrap();
        let options = HubOptions {
            late_after: Duration::from_secs(30),
            forget_after: Duration::from_secs(7 * 86_400),
            urls: vec!["https://hub.example:7700".parse().unwrap()],
            labels: Labels::default(),
            live_series_max: 10_000,
            keeps: fieldpost::hub::Keeps::default(),
        };
        let clock = Arc::new(|| NOW_MS);
        let record = (Arc::new(store), Arc::new(SqliteHubRuns::open(&data, NOW_MS).unwrap()) as _);
        let hub = Arc::new(Hub::new(Arc::new(state), record, &data.join("keys"), options, clock).unwrap());
        let shutdown = CancellationToken::new();
        let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, socket) = (tcp.local_addr().unwrap(), data.join("hub.sock"));
        let unix = UnixListener::bind(&socket).unwrap();
        let (public, local) =
            (api::hub_public_router(Arc::clone(&hub)), api::hub_local_router(Arc::clone(&hub), door()));
        runtime.spawn(api::serve(Listener::Tcp(tcp), public, 64, shutdown.clone()));
        runtime.spawn(api::serve(Listener::Unix(unix), local, 64, shutdown.clone()));
        drop(inside);
        Self { hub, address, socket, shutdown, _runtime: runtime, _scratch: scratch }
    }

    /// Sends a request to the hub's listener.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = ask(TcpStream::connect(self.address).unwrap(), method, path, headers, body);
        assert_described(method, path, &answer);
        answer
    }

    /// Sends a request to its Unix socket.
    pub fn ask_socket(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(UnixStream::connect(&self.socket).unwrap(), method, path, &[], body)
    }

    pub fn act(&self) -> Act {
        Act::new(Actor::Hub, NOW_MS)
    }

    pub fn add_user(&self, name: &str, role: Role, password: Option<&str>) {
        let password = password.map(|password| self.hub.password_hash(password).unwrap());
        self.hub.state.add_user(&self.act(), &NewUser { name: name.to_owned(), password, role }).unwrap();
    }

    /// A cookie of this user: of now, or one that has expired.
    pub fn cookie(&self, user: &str, expired: bool) -> String {
        let (secret, began_ms) =
            (Token::random().unwrap(), if expired { NOW_MS - 2 * HOUR_MS } else { NOW_MS });
        let session = NewSession {
            secret: secret_hash(secret.reveal()),
            user: user.to_owned(),
            expires_ms: began_ms + HOUR_MS,
        };
        self.hub.state.begin_session(&Act::new(Actor::Hub, began_ms), &session).unwrap();
        format!("fieldpost_session={}", String::from(secret))
    }

    /// The header of an API token: of now, or one that has expired.
    pub fn bearer(&self, owner: Option<&str>, scope: Scope, expired: bool) -> String {
        let (secret, made_ms) =
            (Token::random().unwrap(), if expired { NOW_MS - 2 * HOUR_MS } else { NOW_MS });
        let token = NewApiToken {
            secret: secret_hash(secret.reveal()),
            name: "t".to_owned(),
            owner: owner.map(str::to_owned),
            scope,
            expires_ms: Some(made_ms + HOUR_MS),
        };
        self.hub.state.add_api_token(&Act::new(Actor::Hub, made_ms), &token).unwrap();
        format!("Bearer {}", String::from(secret))
    }

    /// An agent that was let in and never came.
    pub fn add_agent(&self, n: u8, name: &str) {
        let certificate = Certificate {
            serial: format!("{n:02x}"),
            key: Fingerprint([n; 32]),
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + HOUR_MS,
        };
        let agent = NewAgent {
            id: format!("{n:032x}"),
            certificate,
            name: name.to_owned(),
            roles: Default::default(),
            labels: Default::default(),
            version: "0".to_owned(),
            mode: Mode::Push,
            allow_jobs: "off".to_owned(),
        };
        self.hub.state.admit_agent(&self.act(), &agent).unwrap();
    }
}

fn door() -> Arc<LocalDoor> {
    Arc::new(LocalDoor {
        status: Box::new(|| Status {
            hub_id: "hub1".into(),
            version: String::new(),
            pid: 0,
            started_ms: 0,
            config: String::new(),
            data: PathBuf::new(),
            listen: String::new(),
            scrape_faults: Vec::new(),
        }),
        reload: Box::new(Reloaded::default),
        backup: Box::new(|_| anyhow::bail!("not here")),
    })
}

fn ask(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: hub\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let status = line().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    while let Some((name, value)) = line().split_once(':') {
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("content-type") != Some("text/event-stream") {
        reader.read_to_end(&mut answer.body).unwrap();
    }
    answer
}
