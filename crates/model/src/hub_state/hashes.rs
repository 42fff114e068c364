//! What stands for a secret or a key: hashes that can be kept and shown, and passwords that only
//! their own hash function reads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::HubStateError;

/// Lowercase hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes of hexadecimal digits; none unless there are exactly `2 * N` of them.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// SHA-256 of a public key's SubjectPublicKeyInfo: what an agent is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = HubStateError;

    fn from_str(text: &str) -> Result<Self, HubStateError> {
        let bytes = parse_hex(text);
        bytes
            .map(Self)
            .ok_or_else(|| HubStateError::invalid("fingerprint", "it is not 64 hexadecimal digits"))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = HubStateError;

    fn try_from(text: String) -> Result<Self, HubStateError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// SHA-256 of a secret of 128 random bits or more: enough for a secret that nobody can guess, and
/// never right for a password. It has no text form, so that it does not end up in a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// The public name of the secret, for lists and for revoking: its first 64 bits, which tell
    /// nobody the secret.
    pub fn id(&self) -> String {
        hex(&self.0[..8])
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHash({}..)", self.id())
    }
}

/// A password as its Argon2id hash in PHC form, `$argon2id$v=19$m=..`. Made and checked by the
/// caller. It has no text form but [`PasswordHash::as_phc`].
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a PHC string; refuses what is not Argon2id, above all a password in clear.
    pub fn from_phc(text: String) -> Result<Self, HubStateError> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with("$argon2id$v=") || !plain || text.len() > 512 {
            return Err(HubStateError::invalid("password", "its hash is not an Argon2id string"));
        }
        Ok(Self(text))
    }

    /// The PHC string.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_comes_back_and_anything_else_is_refused() {
        let bytes: [u8; 32] = std::array::from_fn(|n| (n * 37) as u8);
        assert_eq!(parse_hex(&hex(&bytes)), Some(bytes));
        assert_eq!(Fingerprint(bytes).to_string().parse::<Fingerprint>().unwrap(), Fingerprint(bytes));
        let refused = ["", "0", "00ff0", "0g", "+1", "é"];
        refused.iter().for_each(|text| assert_eq!(parse_hex::<1>(text), None, "{text}"));
    }

    #[test]
    fn password_in_clear_is_no_hash() {
        for text in ["hunter2", "$2b$12$abc", "$argon2id$v=19$ $x", ""] {
            assert!(PasswordHash::from_phc(text.into()).is_err(), "{text}");
        }
        let hash = PasswordHash::from_phc("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into()).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
