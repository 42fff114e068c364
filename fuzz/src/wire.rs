//! Targets for what comes from other machines: frames, words and certificates of the link, blobs of the record, and
//! what others push.

use fieldpost_formats::otlp::{self, Metric, MetricKind, MetricsEncoder, Point};
use fieldpost_formats::remote_write::{Encoder, Version, decode, decompress};
use fieldpost_formats::{Limits, Metadata, Pushed, PushedSeries, Sample};
use fieldpost_link::{
    Acknowledgement, AgentAddress, Decoder, Hello, HubUrl, Invitation, JoinAnswer, JoinRequest, JoinString,
    LiveTick, PeerCertificate, Proxy, RecordHead, Refusal, Summons, Welcome, encode,
};
use fieldpost_model::{Event, EventKind, Family, Frame, Item, Kind, Lost};
use fieldpost_store::record::{
    Definition, Note, TableBlob, decode_definitions, decode_entities, decode_note, decode_table_blob,
    encode_definitions, encode_entities, encode_note, encode_table_blob,
};
use serde::de::DeserializeOwned;

use super::Ready;

/// A word as a hub prints it, and one as an agent does.
const WORDS: [&str; 2] = [
    include_str!("../../crates/link/tests/it/wire/join.txt"),
    include_str!("../../crates/link/tests/it/wire/invitation.txt"),
];
/// Messages of JSON.
const MESSAGES: [&str; 7] = [
    include_str!("../../crates/link/tests/it/wire/hello.json"),
    include_str!("../../crates/link/tests/it/wire/welcome.json"),
    include_str!("../../crates/link/tests/it/wire/refusal.json"),
    include_str!("../../crates/link/tests/it/wire/join_request.json"),
    include_str!("../../crates/link/tests/it/wire/join_answer.json"),
    include_str!("../../crates/link/tests/it/wire/summons.json"),
    "{\"time_ms\":1,\"series\":[],\"values\":[[0,1.5],[1,\"NaN\"]]}",
];

fn item() -> Item {
    Item { seq: 7, from_ms: 1_000, to_ms: 2_000, n_samples: 3, checksum: 9, blob: vec![1, 2, 3] }
}

/// The link: frames however they are cut, words, addresses, certificates, messages.
pub fn link() -> Ready {
    let lost = Lost { from: 1, to: 6, from_ms: 0, to_ms: 1, n_samples: 2, reason: "quota".into() };
    let frames = [
        Frame::Scope("s/1".into()),
        Frame::Definitions(vec![1, 2]),
        Frame::Item(item()),
        Frame::Lost(lost),
        Frame::Newest(9),
    ];
    let mut stream = Vec::new();
    frames.iter().for_each(|frame| encode(frame, &mut stream).expect("a short frame"));
    let mut seeds = vec![[&[0], &stream[..]].concat(), [&[5], &stream[..]].concat()];
    seeds.extend(WORDS.iter().chain(&MESSAGES).map(|text| [b"\xff", text.trim().as_bytes()].concat()));
    seeds.extend(
        ["http://hub.example:7700/x?y=1", "[::1]:7701", "http://u:p@proxy:3128"]
            .map(|text| [b"\xff", text.as_bytes()].concat()),
    );
    Ready { seeds, run: Box::new(run_link) }
}

fn run_link(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    drop(PeerCertificate::from_der(rest));
    match choice {
        255 => drop(std::str::from_utf8(rest).map(read_text)),
        // Cut into pieces of this length.
        n_bytes => assert_eq!(read_frames(rest, usize::from(*n_bytes).max(1)), read_frames(rest, usize::MAX)),
    }
}

/// All frames before the first fault, however the bytes come; what was read is written as it was.
fn read_frames(bytes: &[u8], n_bytes: usize) -> Vec<Frame> {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for piece in bytes.chunks(n_bytes.min(bytes.len().max(1))) {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    for frame in &frames {
        let mut again = Vec::new();
        encode(frame, &mut again).expect("what was read can be written");
        let mut decoder = Decoder::new();
        decoder.feed(&again);
        assert_eq!(decoder.next_frame(), Ok(Some(frame.clone())));
    }
    frames
}

fn read_text(text: &str) {
    if let Ok(word) = text.parse::<JoinString>() {
        assert_eq!(word.to_word().expect("it was a word").parse(), Ok(word));
    }
    if let Ok(word) = text.parse::<Invitation>() {
        assert_eq!(word.to_word().expect("it was a word").parse(), Ok(word));
    }
    if let Ok(url) = text.parse::<HubUrl>() {
        assert_eq!(url.to_string().parse(), Ok(url), "an address is shown as it is written");
    }
    drop(text.parse::<AgentAddress>());
    drop(text.parse::<Proxy>());
    read_message::<Hello>(text);
    read_message::<Welcome>(text);
    read_message::<Refusal>(text);
    read_message::<JoinRequest>(text);
    read_message::<JoinAnswer>(text);
    read_message::<Summons>(text);
    read_message::<RecordHead>(text);
    read_message::<Acknowledgement>(text);
    read_message::<LiveTick>(text);
}

fn read_message<T: DeserializeOwned>(text: &str) {
    drop(serde_json::from_str::<T>(text));
}

/// The record: definitions, notes and tables as agents send them.
pub fn record() -> Ready {
    let family = Family { name: "x_total".into(), help: "Help.".into(), kind: Kind::Counter };
    let labels = vec![("host".to_owned(), "web1".to_owned())];
    let definition = Definition { id: 3, family, suffix: "_bucket".into(), labels };
    let (kind, subject, text) = (EventKind::Start, "agent".to_owned(), "started".to_owned());
    let note = Note::Event(Event { time_ms: 5, kind, subject, text });
    let table =
        TableBlob { kind: fieldpost_model::TableKind::Processes, key: 2_000, chain: 2_000, blob: &[1, 2, 3] };
    let seeds = vec![
        encode_definitions(&[definition]).0,
        encode_entities(&[]).0,
        encode_note(&note),
        encode_table_blob(&table),
    ];
    Ready { seeds, run: Box::new(run_record) }
}

fn run_record(data: &[u8]) {
    if let Ok(definitions) = decode_definitions(data) {
        let (bytes, n) = encode_definitions(&definitions);
        assert_eq!(decode_definitions(&bytes).as_deref(), Ok(&definitions[..n]));
    }
    if let Ok(entities) = decode_entities(data) {
        let (bytes, n) = encode_entities(&entities);
        assert_eq!(decode_entities(&bytes).as_deref(), Ok(&entities[..n]));
    }
    if let Ok(Some(note)) = decode_note(data) {
        assert_eq!(decode_note(&encode_note(&note)), Ok(Some(note)));
    }
    if let Ok(table) = decode_table_blob(data) {
        assert_eq!(decode_table_blob(&encode_table_blob(&table)), Ok(table));
    }
}

/// What others push: remote write of both versions, and OTLP.
pub fn pushed() -> Ready {
    let sample = Sample { time_ms: 1_000, value: 1.5, start_ms: Some(500) };
    let metadata = Metadata { kind: Kind::Gauge, help: "Help.", unit: "seconds" };
    let labels = [("__name__", "up"), ("instance", "a")];
    let series = PushedSeries { labels: &labels, metadata: Some(metadata), samples: &[sample, sample] };
    let mut seeds = Vec::new();
    for (choice, version) in [(0, Version::V1), (1, Version::V2)] {
        let mut encoder = Encoder::new(version, Limits::default());
        encoder.push(series).expect("a sound series");
        encoder.family("up", metadata);
        let block = encoder.finish().expect("a short request");
        let mut message = Vec::new();
        decompress(&block, &Limits::default(), &mut message).expect("a sound block");
        seeds.push([&[choice], &message[..]].concat());
        seeds.push([&[2], &block[..]].concat());
    }
    let mut encoder = MetricsEncoder::new(&[("service.name", "x")], "fieldpost", "1");
    let points = [Point { attributes: &[("mode", "idle")], sample }];
    let kind = MetricKind::Counter;
    encoder.push(Metric { name: "system.cpu.time", description: "Time.", unit: "s", kind, points: &points });
    seeds.push([&[3], &encoder.finish()[..]].concat());
    // A record of a log: resource_logs { scope_logs { log_records { time 1, severity 9, body "text" } } }.
    let log =
        [10, 25, 18, 23, 18, 21, 9, 1, 0, 0, 0, 0, 0, 0, 0, 16, 9, 42, 6, 10, 4, 116, 101, 120, 116, 24, 0];
    seeds.push([&[4], &log[..]].concat());
    Ready { seeds, run: Box::new(run_pushed) }
}

fn run_pushed(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let limits = Limits { message_bytes_max: 1 << 20, ..Limits::default() };
    match choice {
        0 => drop(decode(Version::V1, rest, &limits, sound)),
        1 => drop(decode(Version::V2, rest, &limits, sound)),
        2 => drop(decompress(rest, &limits, &mut Vec::new())),
        3 => drop(otlp::decode_metrics(rest, &limits, 1, sound)),
        _ => drop(otlp::decode_logs(rest, &limits, 1, |_| ())),
    }
}

/// What a decoder promises of everything that it hands on.
fn sound(pushed: Pushed<'_>) {
    let Pushed::Series(series) = pushed else { return };
    assert!(!series.samples.is_empty());
    assert!(series.labels.is_sorted_by(|a, b| a.0 < b.0), "{:?}", series.labels);
    assert!(series.labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
    assert!(series.labels.iter().any(|(name, _)| *name == "__name__"));
}
