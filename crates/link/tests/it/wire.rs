//! Messages of version 1 as they were first written. They must be understood for ever after, and
//! written the same as long as version 1 is spoken.

use std::path::{Path, PathBuf};

use fieldpost_link::{
    Adoption, Decoder, Hello, Invitation, Invited, JoinAnswer, JoinRequest, JoinString, Pin, Refusal,
    Summons, Token, Welcome, encode,
};
use fieldpost_model::{Frame, Item, Lost};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bed::NOW_MS;

fn file(name: &str) -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn unchanged<T: Serialize + DeserializeOwned>(name: &str) {
    let kept: Value = serde_json::from_str(&file(name)).unwrap();
    let message: T = serde_json::from_value(kept.clone()).unwrap();
    assert_eq!(serde_json::to_value(message).unwrap(), kept, "{name}");
}

#[test]
fn messages_are_read_and_written_as_ever() {
    unchanged::<Hello>("hello.json");
    unchanged::<Welcome>("welcome.json");
    unchanged::<Refusal>("refusal.json");
    unchanged::<JoinRequest>("join_request.json");
    unchanged::<JoinAnswer>("join_answer.json");
    unchanged::<Summons>("summons.json");
    unchanged::<Invited>("invited.json");
    unchanged::<Adoption>("adoption.json");
}

#[test]
fn words_are_read_and_written_as_ever() {
    let pin = Pin::from_bytes(std::array::from_fn(|n| n as u8));
    let token = Token::from_bytes(std::array::from_fn(|n| n as u8 + 100));
    let urls = ["https://hub.example:7700", "https://10.0.0.1/mon"];
    let join = JoinString { urls: urls.map(|url| url.parse().unwrap()).into(), pin, token: token.clone() };
    assert_eq!(file("join.txt").parse(), Ok(join.clone()));
    assert_eq!(join.to_word().unwrap(), file("join.txt").trim());
    let addresses = ["web1.example:7702", "[2001:db8::1]:7702"];
    let addresses = addresses.map(|address| address.parse().unwrap()).into();
    let invitation = Invitation { addresses, pin, token };
    assert_eq!(file("invitation.txt").parse(), Ok(invitation.clone()));
    assert_eq!(invitation.to_word().unwrap(), file("invitation.txt").trim());
}

fn frames() -> [Frame; 5] {
    [
        Frame::Scope("hot-20261122T00-1".to_owned()),
        Frame::Definitions(vec![1, 2, 3, 0xff]),
        Frame::Item(Item {
            seq: 7,
            from_ms: NOW_MS,
            to_ms: NOW_MS + 10_000,
            n_samples: 6000,
            checksum: 0xdead_beef,
            blob: b"blob".to_vec(),
        }),
        Frame::Lost(Lost {
            from: 1,
            to: 6,
            from_ms: NOW_MS - 60_000,
            to_ms: NOW_MS,
            n_samples: 36_000,
            reason: "quota".to_owned(),
        }),
        Frame::Newest(9),
    ]
}

#[test]
fn frames_are_read_and_written_as_ever() {
    let hex: String = file("frames.hex").split_whitespace().collect();
    let kept = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    let mut decoder = Decoder::new();
    decoder.feed(&kept);
    for frame in frames() {
        assert_eq!(decoder.next_frame(), Ok(Some(frame)));
    }
    assert_eq!(decoder.finish(), Ok(()));
    let mut written = Vec::new();
    frames().iter().for_each(|frame| encode(frame, &mut written).unwrap());
    // The kept bytes also hold a frame of a later version, which is passed over.
    let later = kept.len() - written.len();
    let newest = written.len() - 13;
    assert_eq!((&kept[..newest], &kept[newest + later..]), (&written[..newest], &written[newest..]));
}
