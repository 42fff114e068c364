//! Who a certificate speaks for: read from its one name, `fieldpost://agent/ID` or
//! `fieldpost://hub/ID`. What the certificate's holder says of itself counts for nothing.

use data_encoding::HEXLOWER;
use fieldpost_model::TimeMs;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::identity::IdentityError;
use crate::pin::Pin;

/// What every name of a certificate begins with.
const SCHEME: &str = "fieldpost://";
/// The longest id; random ones have 32 characters.
const ID_CHARS_MAX: usize = 64;

/// Which face a certificate is for. One never passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A host.
    Agent,
    /// The hub.
    Hub,
}

impl Role {
    /// Its word in names and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Hub => "hub",
        }
    }
}

/// What a certificate says, once its signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Agent or hub.
    pub role: Role,
    /// Id of the agent or the hub.
    pub id: String,
    /// Serial number, in hexadecimal: what a revocation names.
    pub serial: String,
    /// First instant of its validity.
    pub not_before_ms: TimeMs,
    /// Last instant of its validity.
    pub not_after_ms: TimeMs,
    /// Pin of its key.
    pub key_pin: Pin,
    /// Pin of the authority that certified it, as the accepting end of a handshake found out.
    pub authority: Option<Pin>,
}

impl PeerCertificate {
    /// Reads a certificate, without checking any signature.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Unreadable)?;
        if !rest.is_empty() {
            return Err(IdentityError::Unreadable);
        }
        let (role, id) = only_name(&certificate)?;
        let validity = certificate.validity();
        Ok(Self {
            role,
            id,
            serial: HEXLOWER.encode(certificate.raw_serial()),
            not_before_ms: validity.not_before.timestamp().saturating_mul(1000),
            not_after_ms: validity.not_after.timestamp().saturating_mul(1000),
            key_pin: Pin::of_key(certificate.public_key().raw),
            authority: None,
        })
    }

    /// Is its time over?
    pub fn is_expired(&self, now_ms: TimeMs) -> bool {
        now_ms > self.not_after_ms
    }

    /// Is half its life over? From then on a new one is asked for.
    pub fn needs_renewal(&self, now_ms: TimeMs) -> bool {
        let half = self.not_before_ms / 2 + self.not_after_ms / 2;
        now_ms >= half
    }
}

/// The name of a role and an id, as it stands in certificates.
pub(crate) fn name_of(role: Role, id: &str) -> Result<String, IdentityError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > ID_CHARS_MAX || !id.bytes().all(good) {
        return Err(IdentityError::BadId(id.chars().take(ID_CHARS_MAX).collect()));
    }
    Ok(format!("{SCHEME}{}/{id}", role.as_str()))
}

/// A certificate with two names could be read as either; such a one is refused.
fn only_name(certificate: &X509Certificate<'_>) -> Result<(Role, String), IdentityError> {
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Unreadable)?;
    let names = names.ok_or(IdentityError::Nameless)?;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(name)] => read_name(name),
        _ => Err(IdentityError::Nameless),
    }
}

fn read_name(name: &str) -> Result<(Role, String), IdentityError> {
    let (role, id) =
        name.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(IdentityError::Nameless)?;
    let role = match role {
        "agent" => Role::Agent,
        "hub" => Role::Hub,
        _ => return Err(IdentityError::Nameless),
    };
    name_of(role, id)?;
    Ok((role, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = name_of(Role::Agent, "0f-A_1.x").unwrap();
        assert_eq!(read_name(&name).unwrap(), (Role::Agent, "0f-A_1.x".to_owned()));
        assert!(name_of(Role::Hub, "").is_err());
        assert!(name_of(Role::Hub, "a/b").is_err());
        assert!(name_of(Role::Hub, &"a".repeat(65)).is_err());
        assert!(read_name("fieldpost://root/x").is_err());
        assert!(read_name("https://agent/x").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(PeerCertificate::from_der(&bytes).is_err());
        }
    }
}
