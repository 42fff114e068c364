//! Who must not come in, and what both sides are told.

use std::sync::Arc;

use fieldpost_link::{
    Admit, Authority, BoxIo, Hello, HubUrl, Identity, LinkError, LinkState, Protocols, Refusal, RefusalCode,
    dial_hub,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::client::TlsStream;

use crate::bed::{Agent, DAY_MS, HUB_ID, Hub, NOW_MS, echo, everybody, face, hello, identity, nobody, soon};

/// What the hub and the agent say when this identity knocks.
async fn knock(mut hub: Hub, identity: Identity) -> (LinkError, String) {
    let mut agent = Agent::dialling(hub.url(), identity, echo());
    let told = agent.down().await;
    (hub.next().await.err().expect("it came in"), told)
}

#[tokio::test]
async fn an_agent_of_another_authority_is_refused() {
    let other = Authority::create("other", NOW_MS).unwrap();
    let hub = Hub::open().await;
    // It asks for the certificate of its own hub, which this one has not got.
    let (_, told) = knock(hub, identity(&other, "a1", NOW_MS)).await;
    assert!(told.contains("no certificate for us"), "{told}");

    // One who knows the name of this hub, but has a certificate of another authority.
    let hub = Hub::open().await;
    let mut mixed = identity(&other, "a1", NOW_MS);
    mixed.ca = hub.authority.certificate_pem().to_owned();
    let (seen, told) = knock(hub, mixed).await;
    assert!(seen.to_string().contains("not of our authority"), "{seen}");
    assert!(told.contains("join anew"), "{told}");
}

/// A hub that poses as the one of this authority.
async fn posing(authority: Authority, identity: Identity) -> Hub {
    let posing = Identity { ca: authority.certificate_pem().to_owned(), ..identity };
    Hub::posing(authority, posing, face(everybody()), false, nobody()).await
}

#[tokio::test]
async fn a_hub_of_another_authority_is_refused() {
    let other = Authority::create(HUB_ID, NOW_MS).unwrap().issue_hub(HUB_ID, NOW_MS).unwrap();
    let hub = posing(Authority::create(HUB_ID, NOW_MS).unwrap(), other).await;
    let agent = identity(&hub.authority, "a1", NOW_MS);
    let (seen, told) = knock(hub, agent).await;
    assert!(told.contains("not of our authority"), "{told}");
    assert!(seen.to_string().contains("does not know the authority"), "{seen}");
}

#[tokio::test]
async fn an_agents_certificate_makes_no_hub() {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let impostor = identity(&authority, "a2", NOW_MS);
    let hub = posing(authority, impostor).await;
    let agent = identity(&hub.authority, "a1", NOW_MS);
    let (seen, told) = knock(hub, agent).await;
    assert!(told.contains("certificate of agent `a2`, where one of hub is wanted"), "{told}");
    assert!(seen.to_string().contains("does not take our certificate"), "{seen}");
}

#[tokio::test]
async fn a_hubs_certificate_makes_no_agent() {
    let mut hub = Hub::open().await;
    let mut agent = Agent::dialling(hub.url(), hub.identity.clone(), echo());
    let told = agent.down().await;
    assert!(told.contains("does not take our certificate"), "{told}");
    let seen = hub.next().await.err().unwrap();
    assert!(seen.to_string().contains("certificate of hub `hub-1`, where one of agent"), "{seen}");
}

#[tokio::test]
async fn whoever_has_no_certificate_is_told_to_join() {
    let mut hub = Hub::open().await;
    let mut socket = raw_tls(&hub, &[&TLS13], b"fieldpost/1").await.unwrap();
    let told = read_all(&mut socket).await;
    assert!(told.contains("no_certificate") && told.contains("fieldpost join"), "{told}");
    drop(socket);
    let seen = hub.next().await.err().unwrap();
    assert!(matches!(seen, LinkError::Refused(refusal) if refusal.code == RefusalCode::NoCertificate));
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let mut hub = Hub::open().await;
    let error = raw_tls(&hub, &[&TLS12], b"fieldpost/1").await.err().unwrap();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let seen = hub.next().await.err().unwrap().to_string();
    assert!(seen.contains("no TLS 1.3"), "{seen}");
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let mut hub = Hub::open().await;
    assert!(raw_tls(&hub, &[&TLS13], b"h2").await.is_err());
    assert!(hub.next().await.is_err());
}

#[tokio::test]
async fn whom_the_hub_does_not_admit_is_told_why() {
    let admit: Admit = Arc::new(|peer, hello| {
        assert_eq!((peer.id.as_str(), hello.boot_id.as_str()), ("a1", "boot-1"));
        Err(Refusal::new(RefusalCode::Revoked, format!("agent {} was revoked; join anew", peer.id)))
    });
    let hub = Hub::with(face(admit), false).await;
    let agent = identity(&hub.authority, "a1", NOW_MS);
    let (seen, told) = knock(hub, agent).await;
    assert_eq!(told, "refused: agent a1 was revoked; join anew");
    assert!(matches!(seen, LinkError::Refused(refusal) if refusal.code == RefusalCode::Revoked));
}

#[tokio::test]
async fn an_expired_certificate_is_for_the_hub_to_judge() {
    let admit: Admit = Arc::new(|peer, _| {
        let text = "the certificate has expired";
        if peer.is_expired(NOW_MS) { Err(Refusal::new(RefusalCode::Expired, text)) } else { Ok(()) }
    });
    let hub = Hub::with(face(admit), false).await;
    let old = identity(&hub.authority, "a1", NOW_MS - 400 * DAY_MS);
    let (_, told) = knock(hub, old).await;
    assert!(told.contains("expired"), "{told}");

    let mut lenient = Hub::open().await;
    let old = identity(&lenient.authority, "a1", NOW_MS - 400 * DAY_MS);
    let _agent = Agent::dialling(lenient.url(), old, echo());
    let link = lenient.link().await;
    assert!(link.peer.is_expired(NOW_MS) && link.peer.needs_renewal(NOW_MS));
    let young = identity(&lenient.authority, "a2", NOW_MS + 400 * DAY_MS);
    let _other = Agent::dialling(lenient.url(), young, echo());
    assert!(!lenient.link().await.peer.needs_renewal(NOW_MS));
}

#[tokio::test]
async fn who_calls_itself_another_is_refused() {
    let mut hub = Hub::open().await;
    let mut agent = Agent::saying(hub.url(), identity(&hub.authority, "a1", NOW_MS), echo(), hello("a2"));
    let told = agent.down().await;
    assert!(told.contains("calls itself `a2`, its certificate `a1`"), "{told}");
    assert!(
        matches!(hub.next().await.err(), Some(LinkError::Refused(refusal)) if refusal.code == RefusalCode::WrongAgent)
    );
}

#[tokio::test]
async fn versions_without_anything_in_common_say_what_to_upgrade() {
    for (min, max, whom) in [(0, 0, "upgrade the agent"), (2, 9, "upgrade the hub")] {
        let mut hub = Hub::open().await;
        let other = Hello { protocols: Protocols { min, max }, ..hello("a1") };
        let mut agent = Agent::saying(hub.url(), identity(&hub.authority, "a1", NOW_MS), echo(), other);
        let told = agent.down().await;
        assert!(told.contains(whom), "{told}");
        assert!(hub.next().await.is_err());
        assert!(matches!(&*agent.state.borrow(), LinkState::Down { refused: Some(_), .. }));
    }
}

#[tokio::test]
async fn what_is_no_hub_is_named() {
    let hub = Hub::open().await;
    let elsewhere = format!("http://{}/elsewhere", hub.address).parse().unwrap();
    let error = soon(dial_hub(&elsewhere, None)).await.err().unwrap();
    assert!(error.to_string().contains("answered 404 where a hub opens its link"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{address}").replace("127.0.0.1", "localhost").parse().unwrap();
        assert!(soon(dial_hub(&url, None)).await.is_err());
    }
    drop(hub);
    let nobody: HubUrl = "http://127.0.0.1:1".parse().unwrap();
    let error = soon(dial_hub(&nobody, None)).await.err().unwrap();
    assert_eq!(error.to_string(), "cannot reach 127.0.0.1:1");
}

#[tokio::test]
async fn garbage_on_the_carrier_is_an_error_at_once() {
    for garbage in [&b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1], &[0; 70_000]] {
        let mut hub = Hub::open().await;
        let mut carrier = dial_hub(&hub.url(), None).await.unwrap();
        drop(carrier.write_all(garbage).await);
        drop(carrier.flush().await);
        drop(carrier.shutdown().await);
        assert!(hub.next().await.is_err());
        soon(async { while carrier.read_u8().await.is_ok() {} }).await;
    }
}

/// TLS to a hub by hand, without a certificate of one's own.
async fn raw_tls(
    hub: &Hub,
    versions: &[&'static SupportedProtocolVersion],
    protocol: &[u8],
) -> std::io::Result<TlsStream<BoxIo>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(rustls::RootCertStore::empty());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.dangerous().set_certificate_verifier(Arc::new(Trusting));
    config.alpn_protocols = vec![protocol.to_vec()];
    let mut name = hub.authority.pin().to_string();
    name.truncate(32);
    let name = format!("{name}.hub.fieldpost.invalid").try_into().unwrap();
    let carrier = dial_hub(&hub.url(), None).await.unwrap();
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, carrier)).await
}

async fn read_all(socket: &mut TlsStream<BoxIo>) -> String {
    let mut bytes = Vec::new();
    drop(soon(socket.read_to_end(&mut bytes)).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Takes any certificate, and looks at nothing.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
