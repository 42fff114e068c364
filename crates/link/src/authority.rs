//! The hub's own certificate authority: it alone says who is an agent of this hub and who is the
//! hub. Keeps no files; the caller stores both texts, the key readable by its owner alone.

use std::time::Duration;

use aws_lc_rs::rand;
use fieldpost_model::TimeMs;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use crate::identity::{Identity, IdentityError, certificates, params_for, spki_pin};
use crate::peer::{PeerCertificate, Role};
use crate::pin::Pin;

/// Validity of an agent's certificate; a new one is asked for when half of it is over.
pub const AGENT_CERTIFICATE_DAYS: i64 = 30;
/// A certificate is valid from this long before it was made, for clocks that are a little slow.
const HEAD_START_MS: TimeMs = 3_600_000;
const DAY_MS: TimeMs = 86_400_000;
/// The longest request for a certificate that is read; ours have 500 bytes.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// 9999-12-31T00:00:00Z: what RFC 5280 gives to certificates without an end, but for the last day.
pub(crate) const NEVER_MS: TimeMs = 253_402_214_400_000;
/// Random bytes of a serial number; at most 20 are allowed.
const SERIAL_BYTES: usize = 16;

/// Why the authority refuses.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Not a request, or not signed with the key in it.
    #[error("this is no request for a certificate, or it is not signed with its own key")]
    BadRequest,
    /// A key of a kind that is not allowed.
    #[error("the key of the request is neither ECDSA P-256 nor Ed25519")]
    BadKey,
    /// What was stored is not an authority.
    #[error("the stored authority cannot be used")]
    Stored(#[source] IdentityError),
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Identity(#[from] IdentityError),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Identity(error.into())
    }
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, PEM.
    pub chain: String,
    /// What it says: the serial number and the end are for the hub's books.
    pub certificate: PeerCertificate,
}

/// The authority of one hub.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    pin: Pin,
}

impl Authority {
    /// Makes a new authority. It never expires: its key lies beside the hub's data, and whoever
    /// takes one has the other.
    pub fn create(hub_id: &str, now_ms: TimeMs) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Fieldpost authority of hub {hub_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(random_serial()?);
        set_validity(&mut params, now_ms.saturating_sub(HEAD_START_MS), NEVER_MS);
        let pem = params.self_signed(&key)?.pem();
        Self::load(&pem, &key.serialize_pem())
    }

    /// The authority of these two texts, as `certificate_pem` and `key_pem` gave them.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem)
            .map_err(|_| AuthorityError::Stored(IdentityError::Pem("key of the authority")))?;
        let pin = Pin::of_key(&rcgen::PublicKeyData::subject_public_key_info(&key));
        let chain = certificates(certificate_pem).map_err(AuthorityError::Stored)?;
        let certificate = chain
            .first()
            .ok_or(AuthorityError::Stored(IdentityError::Pem("certificate of the authority")))?;
        if spki_pin(certificate).map_err(AuthorityError::Stored)? != pin {
            return Err(AuthorityError::Stored(IdentityError::Mismatch));
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)?;
        Ok(Self { issuer, pem: certificate_pem.to_owned(), pin })
    }

    /// The certificate of the authority, PEM; no secret.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The key of the authority, PEM; the greatest secret of a hub.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Pin of the authority: what join strings carry.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// Pin of an authority whose certificate came from elsewhere.
    pub fn pin_of(certificate_pem: &str) -> Result<Pin, IdentityError> {
        let chain = certificates(certificate_pem)?;
        spki_pin(chain.first().ok_or(IdentityError::Pem("certificate of the authority"))?)
    }

    /// A certificate for the key of a request. The name is the caller's; whatever else the
    /// request asks for is ignored.
    pub fn issue_agent(
        &self,
        request_pem: &str,
        agent_id: &str,
        now_ms: TimeMs,
    ) -> Result<Issued, AuthorityError> {
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(AuthorityError::BadRequest);
        }
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(|_| AuthorityError::BadRequest)?;
        let algorithm = request.public_key.algorithm();
        if *algorithm != rcgen::PKCS_ECDSA_P256_SHA256 && *algorithm != rcgen::PKCS_ED25519 {
            return Err(AuthorityError::BadKey);
        }
        let mut params = leaf(Role::Agent, agent_id)?;
        let end_ms = now_ms.saturating_add(AGENT_CERTIFICATE_DAYS * DAY_MS);
        set_validity(&mut params, now_ms.saturating_sub(HEAD_START_MS), end_ms);
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(Issued { chain: certificate.pem(), certificate: PeerCertificate::from_der(certificate.der())? })
    }

    /// Key and certificate of the hub itself. It never expires, so that an agent whose clock is
    /// wrong by years still knows its hub; taking the hub's key means taking the authority's, too.
    pub fn issue_hub(&self, hub_id: &str, now_ms: TimeMs) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = leaf(Role::Hub, hub_id)?;
        set_validity(&mut params, now_ms.saturating_sub(HEAD_START_MS), NEVER_MS);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = format!("{}{}", certificate.pem(), self.pem);
        Ok(Identity { key: key.serialize_pem(), chain, ca: self.pem.clone() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

/// Agents are TLS servers in poll mode and hubs TLS clients, so every leaf may be either; the
/// name says which face it is.
fn leaf(role: Role, id: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = params_for(role, id)?;
    params.serial_number = Some(random_serial()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

pub(crate) fn random_serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0; SERIAL_BYTES];
    rand::fill(&mut bytes).map_err(|_| IdentityError::NoRandomness)?;
    // Positive, and as long as it looks: the first byte is neither negative nor zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Sets the span of validity; before 1970 and after 9999 there is none.
pub(crate) fn set_validity(params: &mut CertificateParams, from_ms: TimeMs, to_ms: TimeMs) {
    let since = |instant: TimeMs| Duration::from_secs((instant.clamp(0, NEVER_MS) / 1000).unsigned_abs());
    params.not_before = date_time_ymd(1970, 1, 1) + since(from_ms);
    params.not_after = date_time_ymd(1970, 1, 1) + since(to_ms);
}
