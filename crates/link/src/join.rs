//! The words that people copy from one terminal to the other: the join string of a hub, and the
//! invitation of an agent that must not dial out. One word each, with a length and a checksum, so
//! that a lost or mistyped end is named as such.
//!
//! ```text
//! fp1.  base64url of:  kind u8 | length u16 | pin 32 | token 20 | n u8, n * (length u8, text) | check 4
//! ```

use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;

use crate::address::{AddressError, AgentAddress, HubUrl};
use crate::pin::Pin;
use crate::token::Token;

/// What every word begins with; the digit is the version.
const PREFIX: &str = "fp";
const VERSION: u32 = 1;
const KIND_JOIN: u8 = 1;
const KIND_INVITATION: u8 = 2;
/// Kind and length.
const HEAD_BYTES: usize = 3;
const CHECK_BYTES: usize = 4;
/// Addresses in one word.
const ADDRESSES_MAX: usize = 8;
/// The longest word that is looked at.
const WORD_CHARS_MAX: usize = 4096;

/// Why a word is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Nothing was given.
    #[error("nothing was given; paste the whole word that begins with fp1.")]
    Empty,
    /// Not one of our words.
    #[error("this is no join string and no invitation: those begin with fp1.")]
    Foreign,
    /// Of a later version.
    #[error("this word is of version {0}, and this program knows up to 1; upgrade it")]
    Newer(u32),
    /// The end is missing.
    #[error("the end of the word is missing; copy it again, whole")]
    Truncated,
    /// A character was changed, or there is something behind it.
    #[error("the word was damaged on its way; copy it again, whole")]
    Damaged,
    /// A join string where an invitation is wanted, or the other way round.
    #[error("this is {found}, and {wanted} is wanted here; {advice}")]
    OtherKind {
        /// What was given.
        found: &'static str,
        /// What is wanted.
        wanted: &'static str,
        /// Where the other one belongs.
        advice: &'static str,
    },
    /// An address in it cannot be used.
    #[error("an address in the word cannot be used")]
    Address(#[from] AddressError),
    /// It cannot be written.
    #[error("a word holds 1 to 8 addresses of at most 255 bytes each")]
    TooMuch,
}

/// What an agent needs to join a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinString {
    /// Where the hub is, the best first.
    pub urls: Vec<HubUrl>,
    /// Pin of its authority.
    pub pin: Pin,
    /// Lets one agent in.
    pub token: Token,
}

impl JoinString {
    /// As one word.
    pub fn to_word(&self) -> Result<String, WordError> {
        let urls: Vec<String> = self.urls.iter().map(HubUrl::to_string).collect();
        write(KIND_JOIN, &self.pin, &self.token, &urls)
    }
}

impl FromStr for JoinString {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        let parts = read(KIND_JOIN, word)?;
        let urls = parts.addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { urls, pin: parts.pin, token: parts.token })
    }
}

/// What a hub needs to take in an agent that waits to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the agent listens, the best first.
    pub addresses: Vec<AgentAddress>,
    /// Pin of its key.
    pub pin: Pin,
    /// Lets one hub in.
    pub token: Token,
}

impl Invitation {
    /// As one word.
    pub fn to_word(&self) -> Result<String, WordError> {
        let addresses: Vec<String> = self.addresses.iter().map(AgentAddress::to_string).collect();
        write(KIND_INVITATION, &self.pin, &self.token, &addresses)
    }
}

impl FromStr for Invitation {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        let parts = read(KIND_INVITATION, word)?;
        let addresses = parts.addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { addresses, pin: parts.pin, token: parts.token })
    }
}

struct Parts {
    pin: Pin,
    token: Token,
    addresses: Vec<String>,
}

fn write(kind: u8, pin: &Pin, token: &Token, addresses: &[String]) -> Result<String, WordError> {
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        return Err(WordError::TooMuch);
    }
    let mut bytes = vec![kind, 0, 0];
    bytes.extend_from_slice(pin.as_bytes());
    bytes.extend_from_slice(token.reveal());
    bytes.push(addresses.len() as u8);
    for address in addresses {
        bytes.push(u8::try_from(address.len()).map_err(|_| WordError::TooMuch)?);
        bytes.extend_from_slice(address.as_bytes());
    }
    let length = u16::try_from(bytes.len() + CHECK_BYTES).map_err(|_| WordError::TooMuch)?;
    bytes[1..HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
    let check = check_of(&bytes);
    bytes.extend_from_slice(&check);
    Ok(format!("{PREFIX}{VERSION}.{}", BASE64URL_NOPAD.encode(&bytes)))
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest.as_ref()[..CHECK_BYTES]);
    check
}

fn read(wanted: u8, word: &str) -> Result<Parts, WordError> {
    // Terminals break long words, and people copy the breaks.
    let word: String = word.chars().filter(|c| !c.is_whitespace()).take(WORD_CHARS_MAX + 1).collect();
    let bytes = checked(code(&word)?)?;
    let (kind, rest) = (bytes[0], &bytes[HEAD_BYTES..bytes.len() - CHECK_BYTES]);
    if kind != wanted {
        return Err(other_kind(kind, wanted));
    }
    parts(rest).ok_or(WordError::Damaged)
}

/// The characters behind the prefix.
fn code(word: &str) -> Result<&str, WordError> {
    if word.is_empty() {
        return Err(WordError::Empty);
    }
    if format!("{PREFIX}{VERSION}.").starts_with(word) {
        return Err(WordError::Truncated);
    }
    let (version, code) =
        word.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).ok_or(WordError::Foreign)?;
    match version.parse::<u32>() {
        Ok(VERSION) if code.len() <= WORD_CHARS_MAX => Ok(code),
        Ok(VERSION) => Err(WordError::Damaged),
        Ok(version) if version > VERSION => Err(WordError::Newer(version)),
        _ => Err(WordError::Foreign),
    }
}

/// The bytes, of the length they say, with the check they say.
fn checked(code: &str) -> Result<Vec<u8>, WordError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !code.bytes().all(good) {
        return Err(WordError::Damaged);
    }
    // What is left of a cut word: its whole groups of four characters can still be read.
    let groups = &code.as_bytes()[..code.len() / 4 * 4];
    let start = BASE64URL_NOPAD.decode(groups).map_err(|_| WordError::Damaged)?;
    let &[_, high, low, ..] = start.as_slice() else { return Err(WordError::Truncated) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < HEAD_BYTES + Pin::BYTES + Token::BYTES + 1 + CHECK_BYTES {
        return Err(WordError::Damaged);
    }
    if code.len() < BASE64URL_NOPAD.encode_len(length) {
        return Err(WordError::Truncated);
    }
    let bytes = BASE64URL_NOPAD.decode(code.as_bytes()).map_err(|_| WordError::Damaged)?;
    let (said, check) = bytes.split_at_checked(length - CHECK_BYTES).ok_or(WordError::Damaged)?;
    if bytes.len() != length || check_of(said) != check {
        return Err(WordError::Damaged);
    }
    Ok(bytes)
}

fn parts(rest: &[u8]) -> Option<Parts> {
    let (pin, rest) = rest.split_first_chunk::<{ Pin::BYTES }>()?;
    let (token, rest) = rest.split_first_chunk::<{ Token::BYTES }>()?;
    let (&n_addresses, mut rest) = rest.split_first()?;
    let mut addresses = Vec::new();
    for _ in 0..n_addresses {
        let (&length, text) = rest.split_first()?;
        let (text, behind) = text.split_at_checked(usize::from(length))?;
        addresses.push(std::str::from_utf8(text).ok()?.to_owned());
        rest = behind;
    }
    let whole = rest.is_empty() && !addresses.is_empty() && addresses.len() <= ADDRESSES_MAX;
    whole.then(|| Parts { pin: Pin::from_bytes(*pin), token: Token::from_bytes(*token), addresses })
}

fn other_kind(found: u8, wanted: u8) -> WordError {
    const JOIN: &str = "a join string";
    const INVITATION: &str = "an invitation";
    match (found, wanted) {
        (KIND_JOIN, KIND_INVITATION) => WordError::OtherKind {
            found: JOIN,
            wanted: INVITATION,
            advice: "give it to `fieldpost join -` on the host that is to join",
        },
        (KIND_INVITATION, KIND_JOIN) => WordError::OtherKind {
            found: INVITATION,
            wanted: JOIN,
            advice: "give it to `fieldpost hub poll add -` at the hub",
        },
        _ => WordError::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join_string() -> JoinString {
        JoinString {
            urls: vec!["https://hub.example:7700".parse().unwrap(), "https://10.0.0.1".parse().unwrap()],
            pin: Pin::of_key(b"authority"),
            token: Token::from_bytes([7; Token::BYTES]),
        }
    }

    fn invitation() -> Invitation {
        Invitation {
            addresses: vec!["web1.example:7702".parse().unwrap()],
            pin: Pin::of_key(b"agent"),
            token: Token::from_bytes([9; Token::BYTES]),
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        let word = join_string().to_word().unwrap();
        assert_eq!(word.parse(), Ok(join_string()));
        assert_eq!(invitation().to_word().unwrap().parse(), Ok(invitation()));
        let broken = format!(" {}\n {}\n", &word[..40], &word[40..]);
        assert_eq!(broken.parse(), Ok(join_string()), "a terminal's line breaks do no harm");
    }

    #[test]
    fn every_cut_word_is_called_truncated() {
        let word = join_string().to_word().unwrap();
        for length in 1..word.len() {
            assert_eq!(word[..length].parse::<JoinString>(), Err(WordError::Truncated), "{length}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let word = join_string().to_word().unwrap();
        for place in 4..word.len() {
            for other in ["A", "z", "_", "!"] {
                let mut changed = word.clone();
                changed.replace_range(place..=place, other);
                assert!(changed == word || changed.parse::<JoinString>().is_err(), "{place} {other}");
            }
        }
        assert_eq!(format!("{word}A").parse::<JoinString>(), Err(WordError::Damaged));
    }

    #[test]
    fn what_is_no_word_of_ours_is_named() {
        assert_eq!("".parse::<JoinString>(), Err(WordError::Empty));
        assert_eq!("https://hub".parse::<JoinString>(), Err(WordError::Foreign));
        assert_eq!("fpx.AAAA".parse::<JoinString>(), Err(WordError::Foreign));
        assert_eq!("fp2.AAAA".parse::<JoinString>(), Err(WordError::Newer(2)));
        let swapped = invitation().to_word().unwrap().parse::<JoinString>();
        assert!(swapped.unwrap_err().to_string().contains("hub poll add"));
        let swapped = join_string().to_word().unwrap().parse::<Invitation>();
        assert!(swapped.unwrap_err().to_string().contains("fieldpost join"));
    }

    proptest! {
        #[test]
        fn arbitrary_words_never_panic(word in "\\PC{0,200}", code in "[A-Za-z0-9_-]{0,300}") {
            let _ = word.parse::<JoinString>();
            let read = format!("fp1.{code}").parse::<JoinString>();
            prop_assert!(read.is_err());
        }
    }
}
