//! A token: the secret that is good for one enrolment. Only its hash is ever stored by who made it.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

/// 160 random bits. Neither printed nor logged: `reveal` says that it is meant.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token([u8; Self::BYTES]);

impl Token {
    /// Its length; 128 bits would be enough.
    pub const BYTES: usize = 20;

    /// A new one, from the operating system's randomness: a secret is the one thing that no
    /// caller should be able to choose. `None` where the system has no randomness.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        rand::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The token with these bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for whoever hands it on.
    pub fn reveal(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// What is stored in its stead: SHA-256, in hexadecimal. A token has too many bits to be
    /// guessed from it, so it needs no salt and no slow hash.
    pub fn hash(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, &self.0).as_ref())
    }
}

impl PartialEq for Token {
    /// In a time that does not tell how much of it is right.
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("this is no token")
    }
}

impl From<Token> for String {
    fn from(token: Token) -> String {
        BASE64URL_NOPAD.encode(&token.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_say_nothing_of_themselves() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert_ne!(one.hash(), other.hash());
        assert_eq!(format!("{one:?}"), "Token(secret)");
        let text = String::from(one.clone());
        assert_eq!(Token::try_from(text).unwrap(), one);
        assert!(Token::try_from("short".to_owned()).is_err());
    }
}
