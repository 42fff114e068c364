//! The hub's end of a link, whoever dialled it: TLS, the introduction, admission, HTTP/2.

use std::sync::Arc;

use tokio_rustls::TlsStream;

use crate::address::AgentAddress;
use crate::carrier::within;
use crate::enrol::{Answering, serve_call};
use crate::error::LinkError;
use crate::handshake::{Hello, PROTOCOL, Protocols, Refusal, RefusalCode, Welcome, hear, refuse, welcome};
use crate::peer::PeerCertificate;
use crate::session::{Client, Settings};
use crate::tls::{ClientTls, Met, ServerTls};
use crate::{BoxIo, Clock, Io, socket};

/// Decides whether an agent may come in: revoked, expired, cloned, unknown ones may not. Called
/// once for each link, after both the certificate and the hello are known; it must not block.
/// An agent whose certificate has expired is refused or let in here, nowhere else: the hub lets
/// it in to renew it, and ends the link if that fails.
pub type Admit = Arc<dyn Fn(&PeerCertificate, &Hello) -> Result<(), Refusal> + Send + Sync>;

/// How the hub introduces itself.
#[derive(Clone)]
pub struct HubFace {
    /// Id of the hub.
    pub hub_id: String,
    /// Its program's version.
    pub program: String,
    /// What it speaks; `PROTOCOL`, but for tests.
    pub protocols: Protocols,
    /// What it can do beyond the protocol's minimum.
    pub capabilities: Vec<String>,
    /// Its clock.
    pub clock: Clock,
    /// Who may come in.
    pub admit: Admit,
    /// How its links are tuned.
    pub settings: Settings,
}

impl HubFace {
    /// A hub with the usual settings.
    pub fn new(hub_id: &str, program: &str, clock: Clock, admit: Admit) -> Self {
        Self {
            hub_id: hub_id.to_owned(),
            program: program.to_owned(),
            protocols: PROTOCOL,
            capabilities: Vec::new(),
            clock,
            admit,
            settings: Settings::default(),
        }
    }
}

/// An agent that came in.
pub struct Link {
    /// Who it is, by its certificate.
    pub peer: PeerCertificate,
    /// What it says of itself.
    pub hello: Hello,
    /// The protocol's version that both speak.
    pub protocol: u32,
    /// Asks it.
    pub client: Client,
}

/// Somebody who wants to enrol.
pub struct JoinCall(Box<TlsStream<BoxIo>>);

impl JoinCall {
    /// Answers its questions until it hangs up, 30 s at most.
    pub async fn answer(self, answering: Answering) -> Result<(), LinkError> {
        serve_call(self.0, answering).await
    }
}

/// Who came.
pub enum Accepted {
    /// An agent.
    Link(Box<Link>),
    /// Somebody who wants to enrol.
    Join(JoinCall),
}

/// Accepts whoever comes over a carrier (a WebSocket, a socket). Everybody who is refused is told
/// why before this returns the same as an error.
pub async fn accept(io: impl Io + 'static, tls: &ServerTls, hub: &HubFace) -> Result<Accepted, LinkError> {
    match within("TLS handshake", tls.clone().accept(io)).await? {
        Met::Peer(peer, stream) => Ok(Accepted::Link(Box::new(greet(stream, peer, hub).await?))),
        Met::Enrolling(stream) => Ok(Accepted::Join(JoinCall(Box::new(stream)))),
        Met::Nobody(mut stream) => {
            let text = "this host has no certificate of this hub; join it with `fieldpost join -`";
            Err(refuse(&mut stream, Refusal::new(RefusalCode::NoCertificate, text)).await)
        }
    }
}

/// Dials an agent that waits for it, by the hub's own identity. `expected`: the id of the agent.
pub async fn connect_agent(
    address: &AgentAddress,
    tls: &ClientTls,
    expected: &str,
    hub: &HubFace,
) -> Result<Link, LinkError> {
    let stream = socket::connect(address.host(), address.port()).await?;
    let (peer, stream) = within("TLS handshake", tls.connect(stream)).await?;
    if peer.id != expected {
        return Err(LinkError::OtherAgent { wanted: expected.to_owned(), found: peer.id });
    }
    greet(stream, peer, hub).await
}

async fn greet(
    mut stream: TlsStream<BoxIo>,
    peer: PeerCertificate,
    hub: &HubFace,
) -> Result<Link, LinkError> {
    let hello = hear(&mut stream).await?;
    let protocol = match judge(&peer, &hello, hub) {
        Ok(protocol) => protocol,
        Err(refusal) => return Err(refuse(&mut stream, refusal).await),
    };
    let said = Welcome {
        protocol,
        hub_id: hub.hub_id.clone(),
        program: hub.program.clone(),
        time_ms: (hub.clock)(),
        capabilities: hub.capabilities.clone(),
    };
    welcome(&mut stream, said).await?;
    let client = Client::start(stream, &hub.settings).await?;
    Ok(Link { peer, hello, protocol, client })
}

fn judge(peer: &PeerCertificate, hello: &Hello, hub: &HubFace) -> Result<u32, Refusal> {
    let protocol = hello.protocols.common(hub.protocols).map_err(|code| {
        let whom = if code == RefusalCode::AgentTooOld { "agent" } else { "hub" };
        let (agent, own) = (&hello.program, &hub.program);
        Refusal::new(
            code,
            format!("agent {agent} and hub {own} have no protocol in common; upgrade the {whom}"),
        )
    })?;
    if hello.agent_id != peer.id {
        let text =
            format!("this host calls itself `{}`, its certificate `{}`; join anew", hello.agent_id, peer.id);
        return Err(Refusal::new(RefusalCode::WrongAgent, text));
    }
    (hub.admit)(peer, hello)?;
    Ok(protocol)
}
