//! The inner TLS: version 1.3, both sides proven by the hub's own authority, or by a pin while
//! one of them enrols. Which of the two is meant is said by the protocol name (ALPN).

use std::sync::{Arc, LazyLock};

use fieldpost_model::TimeMs;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::error::LinkError;
use crate::identity::{Identity, spki_pin};
use crate::peer::{PeerCertificate, Role};
use crate::pin::Pin;
use crate::verify::{AnyCertificate, Rule, Verifier, signer_of};
use crate::{BoxIo, Io};

/// The link, between two that know each other.
const LINK: &[u8] = b"fieldpost/1";
/// Enrolment, by one that has no certificate yet.
const JOIN: &[u8] = b"fieldpost-join/1";
/// What the outer TLS says that it carries.
const OUTER: &[u8] = b"http/1.1";
/// Names that no resolver knows, under which an agent with several hubs is asked for the
/// certificate of one of them.
const NAME_SUFFIX: &str = "hub.fieldpost.invalid";
/// Hexadecimal digits of the pin in such a name; a label has at most 63.
const NAME_DIGITS: usize = 32;

/// One for the process; given to each configuration, so that nothing global is installed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What a handshake led to.
pub(crate) enum Met {
    /// Somebody with a certificate, for the link.
    Peer(PeerCertificate, TlsStream<BoxIo>),
    /// Somebody without one, for the link: to be told so.
    Nobody(TlsStream<BoxIo>),
    /// Somebody who wants to enrol.
    Enrolling(TlsStream<BoxIo>),
}

/// The dialling end.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl ClientTls {
    /// An agent to its hub. `at_ms`: the latest of its clock and of the last time that the hub
    /// told it.
    pub fn agent_to_hub(identity: &Identity, at_ms: TimeMs) -> Result<Self, LinkError> {
        let ca = identity.ca_certificate()?;
        let pin = spki_pin(&ca)?;
        let rule = Rule::Certified { authorities: vec![ca], role: Role::Hub };
        Self::new(rule, Some(identity), at_ms, LINK, &pin)
    }

    /// A hub to an agent that waits to be dialled.
    pub fn hub_to_agent(identity: &Identity, at_ms: TimeMs) -> Result<Self, LinkError> {
        let ca = identity.ca_certificate()?;
        let pin = spki_pin(&ca)?;
        let rule = Rule::Certified { authorities: vec![ca], role: Role::Agent };
        Self::new(rule, Some(identity), at_ms, LINK, &pin)
    }

    /// Somebody new to the hub whose authority has this pin. No clock is needed.
    pub fn join(ca_pin: &Pin) -> Result<Self, LinkError> {
        Self::new(Rule::PinnedAuthority { pin: *ca_pin, role: Role::Hub }, None, 0, JOIN, ca_pin)
    }

    /// A hub to an agent that invited it, whose key has this pin. No clock is needed.
    pub fn invited(key_pin: &Pin) -> Result<Self, LinkError> {
        Self::new(Rule::PinnedKey { pin: *key_pin, role: Role::Agent }, None, 0, JOIN, key_pin)
    }

    fn new(
        rule: Rule,
        identity: Option<&Identity>,
        at_ms: TimeMs,
        protocol: &[u8],
        pin: &Pin,
    ) -> Result<Self, LinkError> {
        let verifier = Arc::new(Verifier::new(rule, at_ms, Arc::clone(&PROVIDER)));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain_der()?, identity.key_der()?)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        // Each connection proves itself anew: a revoked one must not ride on an old ticket.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(server_name(pin)).map_err(|_| LinkError::Name)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Shakes hands. The other side's certificate has been checked when this returns.
    pub(crate) async fn connect(
        &self,
        io: impl Io + 'static,
    ) -> Result<(PeerCertificate, TlsStream<BoxIo>), LinkError> {
        let io: BoxIo = Box::new(io);
        let stream = self.connector.connect(self.name.clone(), io).await.map_err(LinkError::from_tls)?;
        let stream = TlsStream::from(stream);
        let peer = peer_of(&stream)?.ok_or(LinkError::NoCertificate)?;
        Ok((peer, stream))
    }
}

/// The accepting end.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    role: Role,
    authorities: Arc<Vec<CertificateDer<'static>>>,
}

impl ServerTls {
    /// A hub: agents of its own authority, and whoever wants to join.
    pub fn hub(identity: &Identity) -> Result<Self, LinkError> {
        let certificates = Certificates {
            by_name: vec![(server_name(&identity.ca_pin()?), certified(identity)?)],
            enrolling: Some(certified(identity)?),
        };
        Self::new(vec![identity.ca_certificate()?], Role::Agent, certificates, 0)
    }

    /// An agent that waits to be dialled: by any of the hubs that it has an identity for, and,
    /// while it has an open invitation, by the hub that holds it.
    pub fn agent(
        identities: &[Identity],
        invitation: Option<&Identity>,
        at_ms: TimeMs,
    ) -> Result<Self, LinkError> {
        let by_name = identities
            .iter()
            .map(|identity| Ok((server_name(&identity.ca_pin()?), certified(identity)?)))
            .collect::<Result<Vec<_>, LinkError>>()?;
        let enrolling = invitation.map(certified).transpose()?;
        let authorities = identities.iter().map(Identity::ca_certificate).collect::<Result<Vec<_>, _>>()?;
        Self::new(authorities, Role::Hub, Certificates { by_name, enrolling }, at_ms)
    }

    fn new(
        authorities: Vec<CertificateDer<'static>>,
        role: Role,
        certificates: Certificates,
        at_ms: TimeMs,
    ) -> Result<Self, LinkError> {
        let rule = Rule::Certified { authorities: authorities.clone(), role };
        let verifier = Arc::new(Verifier::new(rule, at_ms, Arc::clone(&PROVIDER)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![LINK.to_vec(), JOIN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), role, authorities: Arc::new(authorities) })
    }

    /// Shakes hands, and says who came for what.
    pub(crate) async fn accept(self, io: impl Io + 'static) -> Result<Met, LinkError> {
        let io: BoxIo = Box::new(io);
        let stream = TlsStream::from(self.acceptor.accept(io).await.map_err(LinkError::from_tls)?);
        match stream.get_ref().1.alpn_protocol() {
            Some(LINK) => Ok(match self.known_peer(&stream)? {
                Some(peer) => Met::Peer(peer, stream),
                None => Met::Nobody(stream),
            }),
            Some(JOIN) => Ok(Met::Enrolling(stream)),
            _ => Err(LinkError::NotALink),
        }
    }

    /// The one who came, if the authority that certified it is the one it asked us to prove
    /// ourselves by: the hub of one house must not be served as the hub of another.
    fn known_peer(&self, stream: &TlsStream<BoxIo>) -> Result<Option<PeerCertificate>, LinkError> {
        let Some(peer) = peer_of(stream)? else { return Ok(None) };
        let TlsStream::Server(server) = stream else { return Ok(Some(peer)) };
        let session = server.get_ref().1;
        let Some([leaf, ..]) = session.peer_certificates() else { return Ok(None) };
        let signer = signer_of(leaf, &self.authorities, self.role, &PROVIDER);
        let signer = signer.ok_or(LinkError::NoCertificate)?;
        let authority = spki_pin(signer)?;
        if session.server_name() == Some(server_name(&authority).as_str()) {
            Ok(Some(PeerCertificate { authority: Some(authority), ..peer }))
        } else {
            Err(LinkError::Name)
        }
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The outer TLS of a hub that has no proxy in front: its own certificate, for transport only.
/// Browsers will ask about it, so a hub with a public name gives its public one here instead.
pub fn outer_server(chain_and_key: &Identity) -> Result<TlsAcceptor, LinkError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain_and_key.chain_der()?, chain_and_key.key_der()?)?;
    config.alpn_protocols = vec![OUTER.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The outer TLS of an agent: any certificate will do (see `AnyCertificate`), and TLS 1.2 too,
/// for proxies that know nothing newer.
pub(crate) fn outer_client() -> Result<TlsConnector, LinkError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(&PROVIDER))))
        .with_no_client_auth();
    config.alpn_protocols = vec![OUTER.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Finds the certificate by the name that the other side asks for.
#[derive(Debug)]
struct Certificates {
    by_name: Vec<(String, Arc<CertifiedKey>)>,
    enrolling: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut names| names.any(|name| name == JOIN)) {
            return self.enrolling.clone();
        }
        let wanted = hello.server_name()?;
        let found = self.by_name.iter().find(|(name, _)| name == wanted);
        found.map(|(_, certificate)| Arc::clone(certificate))
    }
}

/// Did this authority sign this certificate, for this face?
pub(crate) fn is_certified(leaf: &CertificateDer<'_>, ca: &CertificateDer<'static>, role: Role) -> bool {
    signer_of(leaf, std::slice::from_ref(ca), role, &PROVIDER).is_some()
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, LinkError> {
    let key = CertifiedKey::from_der(identity.chain_der()?, identity.key_der()?, &PROVIDER)?;
    Ok(Arc::new(key))
}

fn peer_of(stream: &TlsStream<BoxIo>) -> Result<Option<PeerCertificate>, LinkError> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    Ok(leaf.map(|leaf| PeerCertificate::from_der(leaf)).transpose()?)
}

fn server_name(pin: &Pin) -> String {
    let mut name = pin.to_string();
    name.truncate(NAME_DIGITS);
    format!("{name}.{NAME_SUFFIX}")
}
