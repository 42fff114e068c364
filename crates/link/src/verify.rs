//! Whom a TLS handshake lets through: who holds a key that our own authority certified, for the
//! right face; or, before there is an authority, who is known by a pin.
//!
//! An agent's expired certificate passes here: the hub judges validity by its own clock once the
//! handshake is done, so that it can say what is wrong and can renew. The hub's certificate is
//! never too young for an agent, for agents may not know the time.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use fieldpost_model::TimeMs;

use crate::identity::spki_pin;
use crate::peer::{PeerCertificate, Role};
use crate::pin::Pin;

/// What a certificate must be.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    /// Certified by one of these authorities.
    Certified { authorities: Vec<CertificateDer<'static>>, role: Role },
    /// Certified by the authority with this pin, which comes along in the chain.
    PinnedAuthority { pin: Pin, role: Role },
    /// Holds the key with this pin.
    PinnedKey { pin: Pin, role: Role },
}

/// Why a certificate is refused, in words for the log of this side; the other side gets an alert.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it is the certificate of {found} `{id}`, where one of {wanted} is wanted")]
    Role { found: &'static str, id: String, wanted: &'static str },
    #[error("the other side is not the one that the word was made for (its pin differs)")]
    Pin,
    #[error("it is not a certificate of Fieldpost")]
    Foreign,
}

impl Unfit {
    fn into_tls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// Checks the other side's certificate, for both ends of TLS.
#[derive(Debug)]
pub(crate) struct Verifier {
    rule: Rule,
    at_ms: TimeMs,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(rule: Rule, at_ms: TimeMs, provider: Arc<CryptoProvider>) -> Self {
        Self { rule, at_ms, provider }
    }

    fn judge(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let peer = PeerCertificate::from_der(leaf).map_err(|_| Unfit::Foreign.into_tls())?;
        let (role, authorities) = match &self.rule {
            Rule::Certified { authorities, role } => (*role, authorities.clone()),
            Rule::PinnedAuthority { pin, role } => (*role, vec![pinned(chain, pin)?]),
            Rule::PinnedKey { pin, role } => {
                check_role(&peer, *role)?;
                return if peer.key_pin == *pin { Ok(()) } else { Err(Unfit::Pin.into_tls()) };
            }
        };
        self.check_signed(leaf, &peer, authorities)?;
        check_role(&peer, role)
    }

    fn check_signed(
        &self,
        leaf: &CertificateDer<'_>,
        peer: &PeerCertificate,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority)?;
        }
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        // All leaves of our authorities may be servers and clients, so one purpose stands for both.
        let signed =
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], self.instant(peer), algorithms);
        match signed {
            // Another authority of the same name.
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
            }
            other => other,
        }
    }

    /// The instant at which the certificate must be valid.
    fn instant(&self, peer: &PeerCertificate) -> UnixTime {
        let latest_ms = if peer.role == Role::Agent { peer.not_after_ms } else { TimeMs::MAX };
        let at_ms = self.at_ms.max(peer.not_before_ms).min(latest_ms).max(0);
        UnixTime::since_unix_epoch(std::time::Duration::from_millis(at_ms.unsigned_abs()))
    }
}

/// The authority that signed a leaf, of several.
pub(crate) fn signer_of<'a>(
    leaf: &CertificateDer<'_>,
    authorities: &'a [CertificateDer<'static>],
    role: Role,
    provider: &Arc<CryptoProvider>,
) -> Option<&'a CertificateDer<'static>> {
    let signed = |authority: &&CertificateDer<'static>| {
        let rule = Rule::Certified { authorities: vec![(*authority).clone()], role };
        Verifier::new(rule, 0, Arc::clone(provider)).judge(leaf, &[]).is_ok()
    };
    authorities.iter().find(signed)
}

fn check_role(peer: &PeerCertificate, wanted: Role) -> Result<(), Error> {
    if peer.role == wanted {
        return Ok(());
    }
    let unfit = Unfit::Role { found: peer.role.as_str(), id: peer.id.clone(), wanted: wanted.as_str() };
    Err(unfit.into_tls())
}

fn pinned(chain: &[CertificateDer<'_>], pin: &Pin) -> Result<CertificateDer<'static>, Error> {
    let fits = |certificate: &&CertificateDer<'_>| spki_pin(certificate).is_ok_and(|found| found == *pin);
    let found = chain.iter().find(fits).ok_or_else(|| Unfit::Pin.into_tls())?;
    Ok(found.clone().into_owned())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, chain).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Who enrols has no certificate yet. Who comes without one for anything else is told so in
    /// words after the handshake.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, chain).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// Takes any certificate: for the outer TLS of the carrier only. All that passes through it is
/// TLS again, with both sides proven by the hub's own authority, so nothing is gained by asking a
/// public authority about the outer one, and hubs with certificates made at home would be shut out.
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
