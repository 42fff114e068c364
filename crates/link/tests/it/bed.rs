//! What the tests stand on: a hub on a free port, agents, a clock that stands still.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fieldpost_link::{
    Accepted, AgentAddress, Answering, Authority, Body, ClientTls, Clock, Dialler, DiallerStats, Handler,
    Hello, HubFace, HubUrl, Identity, Incoming, KeyRequest, Link, LinkError, LinkState, Listening, PROTOCOL,
    Refusal, ServerTls, Settings, accept, connect_agent, full, handler, listen, outer_server, upgrade,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// 2026-11-22, in ms.
pub const NOW_MS: i64 = 1_795_305_600_000;
pub const DAY_MS: i64 = 86_400_000;
pub const HUB_ID: &str = "hub-1";

/// The longest that any test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

pub fn clock() -> Clock {
    Arc::new(|| NOW_MS)
}

pub fn identity(authority: &Authority, agent_id: &str, issued_ms: i64) -> Identity {
    let request = KeyRequest::new(agent_id).unwrap();
    let issued = authority.issue_agent(&request.request, agent_id, issued_ms).unwrap();
    let ca = authority.certificate_pem().to_owned();
    request.accept(issued.chain, ca, agent_id, &authority.pin()).unwrap()
}

pub fn hello(agent_id: &str) -> Hello {
    Hello {
        protocols: PROTOCOL,
        program: "0.0.1".to_owned(),
        agent_id: agent_id.to_owned(),
        boot_id: "boot-1".to_owned(),
        spool_ids: vec!["spool-1".to_owned()],
        capabilities: vec!["record".to_owned()],
    }
}

pub fn everybody() -> fieldpost_link::Admit {
    Arc::new(|_, _| Ok(()))
}

pub fn face(admit: fieldpost_link::Admit) -> HubFace {
    HubFace::new(HUB_ID, "0.0.2", clock(), admit)
}

/// Answers a request with its own body, and its path in a header.
pub fn echo() -> Handler {
    handler(service_fn(|request: Request<Incoming>| async {
        let path = request.uri().path().to_owned();
        let body = request.into_body().boxed_unsync();
        Ok::<_, Infallible>(Response::builder().header("path", path).body(body).unwrap())
    }))
}

/// A hub, and all that came to it.
pub struct Hub {
    pub authority: Authority,
    pub identity: Identity,
    pub address: SocketAddr,
    pub came: mpsc::Receiver<Result<Link, LinkError>>,
    pub stop: CancellationToken,
}

/// How a test hub answers enrolments.
pub type Enrol = Arc<dyn Fn(String, Bytes) -> Result<Value, Refusal> + Send + Sync>;

pub fn nobody() -> Enrol {
    Arc::new(|_, _| panic!("nobody enrols in this test"))
}

impl Hub {
    /// Lets everybody in who has a certificate of its own authority.
    pub async fn open() -> Self {
        Self::with(face(everybody()), false).await
    }

    pub async fn with(face: HubFace, outer_tls: bool) -> Self {
        Self::new(Authority::create(HUB_ID, NOW_MS).unwrap(), face, outer_tls, nobody()).await
    }

    pub async fn new(authority: Authority, face: HubFace, outer_tls: bool, enrol: Enrol) -> Self {
        let identity = authority.issue_hub(HUB_ID, NOW_MS).unwrap();
        Self::posing(authority, identity, face, outer_tls, enrol).await
    }

    /// A hub that proves itself by whatever it is given.
    pub async fn posing(
        authority: Authority,
        identity: Identity,
        face: HubFace,
        outer_tls: bool,
        enrol: Enrol,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, came) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let door = Door {
            tls: ServerTls::hub(&identity).unwrap(),
            outer: outer_tls.then(|| outer_server(&identity).unwrap()),
            face,
            enrol,
            sender,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(open_door(listener, Arc::new(door))));
        Self { authority, identity, address, came, stop }
    }

    pub fn url(&self) -> HubUrl {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// The next that came, in or not.
    pub async fn next(&mut self) -> Result<Link, LinkError> {
        soon(self.came.recv()).await.unwrap()
    }

    /// The agent that came in.
    pub async fn link(&mut self) -> Link {
        self.next().await.unwrap()
    }

    /// An agent of this hub, dialling.
    pub fn agent(&self, agent_id: &str) -> Agent {
        Agent::dialling(self.url(), identity(&self.authority, agent_id, NOW_MS), echo())
    }
}

struct Door {
    tls: ServerTls,
    outer: Option<tokio_rustls::TlsAcceptor>,
    face: HubFace,
    enrol: Enrol,
    sender: mpsc::Sender<Result<Link, LinkError>>,
}

async fn open_door(listener: TcpListener, door: Arc<Door>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            match &door.outer {
                Some(outer) => {
                    if let Ok(stream) = outer.accept(stream).await {
                        serve_http(stream, Arc::clone(&door)).await;
                    }
                }
                None => serve_http(stream, door).await,
            }
        });
    }
}

async fn serve_http(stream: impl fieldpost_link::Io + 'static, door: Arc<Door>) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let door = Arc::clone(&door);
        async move {
            if request.uri().path() != "/link" {
                let mut response = Response::new(Full::<Bytes>::from("no such page"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                return Ok::<_, Infallible>(response);
            }
            let (response, promised) = upgrade(&mut request);
            if let Some(promised) = promised {
                tokio::spawn(async move {
                    let Ok(carrier) = promised.carrier().await else { return };
                    come_in(carrier, &door).await;
                });
            }
            Ok(response.map(Full::from))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(connection.with_upgrades().await);
}

async fn come_in(carrier: impl fieldpost_link::Io + 'static, door: &Door) {
    let came = match accept(carrier, &door.tls, &door.face).await {
        Ok(Accepted::Link(link)) => Ok(*link),
        Ok(Accepted::Join(call)) => {
            drop(call.answer(answering(Arc::clone(&door.enrol))).await);
            return;
        }
        Err(error) => Err(error),
    };
    drop(door.sender.send(came).await);
}

/// An agent that dials.
pub struct Agent {
    pub state: watch::Receiver<LinkState>,
    pub stats: Arc<DiallerStats>,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

impl Agent {
    pub fn dialling(url: HubUrl, identity: Identity, handler: Handler) -> Self {
        Self::tuned(url, identity, handler, Settings::default())
    }

    pub fn tuned(url: HubUrl, identity: Identity, handler: Handler, settings: Settings) -> Self {
        let hello = hello(&identity.certificate().unwrap().id);
        Self::new(clock(), url, identity, handler, settings, hello)
    }

    /// An agent whose clock shows another time.
    pub fn at(now_ms: i64, url: HubUrl, identity: Identity, handler: Handler) -> Self {
        let hello = hello(&identity.certificate().unwrap().id);
        Self::new(Arc::new(move || now_ms), url, identity, handler, Settings::default(), hello)
    }

    /// An agent that says something else of itself than its certificate.
    pub fn saying(url: HubUrl, identity: Identity, handler: Handler, hello: Hello) -> Self {
        Self::new(clock(), url, identity, handler, Settings::default(), hello)
    }

    fn new(
        clock: Clock,
        url: HubUrl,
        identity: Identity,
        handler: Handler,
        settings: Settings,
        hello: Hello,
    ) -> Self {
        let (sender, state) = watch::channel(LinkState::Connecting);
        let stats = Arc::new(DiallerStats::default());
        let dialler = Dialler {
            urls: vec![url],
            proxy: None,
            identity: Arc::new(move || identity.clone()),
            hello: Arc::new(move || hello.clone()),
            clock,
            reconnect_max: fieldpost_link::PAUSE_MAX,
            random: Arc::new(|| 0.05),
            settings,
            state: sender,
            stats: Arc::clone(&stats),
            make_handler: Arc::new(move |_, _| Arc::clone(&handler)),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(dialler.run(stop.clone()));
        Self { state, stats, stop, task }
    }

    /// Waits until the link is down, and says why.
    pub async fn down(&mut self) -> String {
        let down = |state: &LinkState| matches!(state, LinkState::Down { .. });
        match &*soon(self.state.wait_for(down)).await.unwrap() {
            LinkState::Down { reason, .. } => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn up(&mut self) {
        let up = |state: &LinkState| matches!(state, LinkState::Up { .. });
        drop(soon(self.state.wait_for(up)).await.unwrap());
    }
}

impl Agent {
    /// Tells it to end, and waits until it has.
    pub async fn end(mut self) {
        self.stop.cancel();
        soon(&mut self.task).await.unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::post(path).body(full(body)).unwrap()
}

/// An agent that waits to be dialled.
pub struct ListeningAgent {
    pub address: AgentAddress,
    pub stop: CancellationToken,
}

impl ListeningAgent {
    /// With an identity that may come later, and perhaps an open invitation.
    pub async fn open(
        agent_id: &str,
        identity: Arc<Mutex<Option<Identity>>>,
        invitation: Option<Identity>,
        enrol: Enrol,
    ) -> Self {
        let tls = move || {
            let identities: Vec<Identity> = identity.lock().clone().into_iter().collect();
            ServerTls::agent(&identities, invitation.as_ref(), NOW_MS)
        };
        Self::new(agent_id, Arc::new(tls), enrol).await
    }

    pub async fn of_two(one: Identity, other: Identity) -> Self {
        let tls = move || ServerTls::agent(&[one.clone(), other.clone()], None, NOW_MS);
        Self::new("a1", Arc::new(tls), nobody()).await
    }

    async fn new(
        agent_id: &str,
        tls: Arc<dyn Fn() -> Result<ServerTls, LinkError> + Send + Sync>,
        enrol: Enrol,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let hello = hello(agent_id);
        let listening = Listening {
            tls,
            hello: Arc::new(move |_| hello.clone()),
            settings: Settings::default(),
            traffic: Arc::default(),
            make_handler: Arc::new(|_, _| echo()),
            enrol: answering(enrol),
        };
        let stop = CancellationToken::new();
        tokio::spawn(listen(listener, listening, stop.clone()));
        Self { address, stop }
    }

    pub async fn dialled_by(
        &self,
        authority: &Authority,
        address: &AgentAddress,
        expected: &str,
    ) -> Result<Link, LinkError> {
        let hub = authority.issue_hub(HUB_ID, NOW_MS).unwrap();
        self.dialled_with(&hub, address, expected, face(everybody())).await
    }

    pub async fn dialled_with(
        &self,
        hub: &Identity,
        address: &AgentAddress,
        expected: &str,
        face: HubFace,
    ) -> Result<Link, LinkError> {
        let tls = ClientTls::hub_to_agent(hub, NOW_MS).unwrap();
        soon(connect_agent(address, &tls, expected, &face)).await
    }
}

fn answering(enrol: Enrol) -> Answering {
    Arc::new(move |path, body| Box::pin(std::future::ready(enrol(path, body))))
}
