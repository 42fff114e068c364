//! What one side holds to be known by: its key, the certificate of it, and the authority both
//! rest on. The key is made here and leaves this host never; only a request for a certificate does.

use std::fmt;

use fieldpost_model::TimeMs;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use crate::authority::{NEVER_MS, random_serial, set_validity};
use crate::peer::{PeerCertificate, Role, name_of};
use crate::pin::Pin;

/// The most certificates that a chain may have; ours have two.
const CHAIN_LENGTH_MAX: usize = 4;
/// The longest PEM text that is read.
const PEM_BYTES_MAX: usize = 64 << 10;

/// What is wrong with a key, a certificate or a request.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate, or damaged.
    #[error("this is no certificate that can be read")]
    Unreadable,
    /// Not one of ours.
    #[error("the certificate does not name one Fieldpost agent or hub")]
    Nameless,
    /// An id that cannot stand in a certificate.
    #[error("`{0}` cannot be an id: 1 to 64 letters, digits, - _ . are allowed")]
    BadId(String),
    /// PEM text that holds something else.
    #[error("the {0} cannot be read: it is not PEM, or damaged")]
    Pem(&'static str),
    /// Key and certificate do not belong together.
    #[error("the key does not belong to the certificate; restore both from the same backup")]
    Mismatch,
    /// The library refused.
    #[error("cannot make a key or a certificate")]
    Made(#[from] rcgen::Error),
    /// The system has no randomness.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// Key, certificate and authority of one side of a link, as PEM. The caller stores it, with the
/// key readable by its owner alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The private key (PKCS#8).
    pub key: String,
    /// The certificate of the key; a hub's is followed by that of its authority.
    pub chain: String,
    /// The certificate of the authority that both sides trust.
    pub ca: String,
}

impl Identity {
    /// Its own certificate. Also proves that the key belongs to it.
    pub fn certificate(&self) -> Result<PeerCertificate, IdentityError> {
        let chain = certificates(&self.chain)?;
        let certificate = PeerCertificate::from_der(chain.first().ok_or(IdentityError::Pem("chain"))?)?;
        if key_pin(&self.key)? != certificate.key_pin {
            return Err(IdentityError::Mismatch);
        }
        Ok(certificate)
    }

    /// Pin of the authority.
    pub fn ca_pin(&self) -> Result<Pin, IdentityError> {
        spki_pin(&self.ca_certificate()?)
    }

    /// A certificate that only its own key speaks for: what an agent shows to the hub that it
    /// invited, which knows the pin of the key.
    pub fn self_signed(agent_id: &str, now_ms: TimeMs) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = params_for(Role::Agent, agent_id)?;
        params.serial_number = Some(random_serial()?);
        set_validity(&mut params, now_ms, NEVER_MS);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { key: key.serialize_pem(), chain: pem.clone(), ca: pem })
    }

    pub(crate) fn ca_certificate(&self) -> Result<CertificateDer<'static>, IdentityError> {
        certificates(&self.ca)?.into_iter().next().ok_or(IdentityError::Pem("certificate of the authority"))
    }

    pub(crate) fn chain_der(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates(&self.chain)
    }

    pub(crate) fn key_der(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| IdentityError::Pem("key"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// A new key and the request for its certificate.
#[derive(Clone)]
pub struct KeyRequest {
    /// The private key, PEM. Stays here.
    pub key: String,
    /// The request (PKCS#10), PEM. Goes to the hub, which takes the public key from it and
    /// nothing else.
    pub request: String,
}

impl KeyRequest {
    /// Makes a new key (P-256) for an agent.
    pub fn new(agent_id: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let request = params_for(Role::Agent, agent_id)?.serialize_request(&key)?.pem()?;
        Ok(Self { key: key.serialize_pem(), request })
    }

    /// Joins the key with the certificate that was issued for it. Refused if it is for another
    /// key or another agent, or if the authority is not the pinned one.
    pub fn accept(
        self,
        chain: String,
        ca: String,
        agent_id: &str,
        pin: &Pin,
    ) -> Result<Identity, IdentityError> {
        let identity = Identity { key: self.key, chain, ca };
        let certificate = identity.certificate()?;
        if certificate.role != Role::Agent || certificate.id != agent_id {
            return Err(IdentityError::BadId(certificate.id));
        }
        if identity.ca_pin()? != *pin {
            return Err(IdentityError::Mismatch);
        }
        Ok(identity)
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

/// What all certificates have in common: one name, and nothing that a proxy might take for a host.
pub(crate) fn params_for(role: Role, id: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    let name = name_of(role, id)?;
    params.subject_alt_names = vec![SanType::URI(name.try_into()?)];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id);
    Ok(params)
}

/// All certificates of a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(IdentityError::Pem("chain"));
    }
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).take(CHAIN_LENGTH_MAX);
    chain.collect::<Result<Vec<_>, _>>().map_err(|_| IdentityError::Pem("chain"))
}

/// Pin of the key of any certificate, ours or not.
pub(crate) fn spki_pin(der: &[u8]) -> Result<Pin, IdentityError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| IdentityError::Unreadable)?;
    Ok(Pin::of_key(certificate.public_key().raw))
}

fn key_pin(key_pem: &str) -> Result<Pin, IdentityError> {
    let key = KeyPair::from_pem(key_pem).map_err(|_| IdentityError::Pem("key"))?;
    Ok(Pin::of_key(&rcgen::PublicKeyData::subject_public_key_info(&key)))
}
