//! Tests of remote write: what is written is read again, in both versions; what is wrong is said; bombs stay small.

use fieldpost_model::{ABSENT, Kind, TimeMs};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::delivery::PART_SAMPLES_MAX;
use crate::pushed::{Label, Metadata, PushedSeries, Refusal, Sample, SeriesFault};

/// A series that owns its texts; numbers by their bits, for not-a-number differs from itself.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    labels: Vec<(String, String)>,
    metadata: Option<(Kind, String, String)>,
    samples: Vec<(TimeMs, u64, Option<TimeMs>)>,
}

impl Owned {
    fn of(series: PushedSeries<'_>) -> Self {
        Self {
            labels: series.labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            metadata: series.metadata.map(|it| (it.kind, it.help.into(), it.unit.into())),
            samples: series.samples.iter().map(|it| (it.time_ms, it.value.to_bits(), it.start_ms)).collect(),
        }
    }

    fn push(&self, encoder: &mut Encoder) -> Result<(), SeriesFault> {
        let labels: Vec<Label<'_>> = self.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let metadata = self.metadata.as_ref().map(|(kind, help, unit)| Metadata { kind: *kind, help, unit });
        let samples: Vec<Sample> = self
            .samples
            .iter()
            .map(|(time_ms, bits, start_ms)| Sample {
                time_ms: *time_ms,
                value: f64::from_bits(*bits),
                start_ms: *start_ms,
            })
            .collect();
        encoder.push(PushedSeries { labels: &labels, metadata, samples: &samples })
    }
}

fn series(labels: &[Label<'_>], samples: &[(TimeMs, f64)]) -> Owned {
    Owned {
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        metadata: None,
        samples: samples.iter().map(|(time_ms, value)| (*time_ms, value.to_bits(), None)).collect(),
    }
}

/// What a message brings, and what became of it.
fn read(version: Version, message: &[u8]) -> Result<(Vec<Owned>, Outcome), RequestError> {
    let mut found = Vec::new();
    let outcome = decode(version, message, &Limits::default(), |pushed| {
        if let Pushed::Series(series) = pushed {
            found.push(Owned::of(series));
        }
    })?;
    Ok((found, outcome))
}

fn written(version: Version, all: &[Owned]) -> Vec<u8> {
    let mut encoder = Encoder::new(version, Limits::default());
    for series in all {
        series.push(&mut encoder).unwrap();
    }
    encoder.finish().unwrap()
}

fn uncompressed(block: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    decompress(block, &Limits::default(), &mut message).unwrap();
    message
}

#[test]
fn what_is_written_is_read_in_both_versions() {
    let all = [
        series(&[("__name__", "up"), ("job", "a")], &[(1_700_000_000_000, 1.0), (1_700_000_001_000, ABSENT)]),
        series(
            &[("__name__", "t{} µ"), ("a.b", "line\nfeed")],
            &[(-1, f64::NEG_INFINITY), (i64::MIN, f64::NAN)],
        ),
    ];
    for version in [Version::V1, Version::V2] {
        let (found, outcome) = read(version, &uncompressed(&written(version, &all))).unwrap();
        assert_eq!(found, all, "{version:?}");
        assert_eq!(outcome, Outcome { n_samples: 4, ..Outcome::default() }, "{version:?}");
    }
}

#[test]
fn metadata_and_start_times_travel_with_series_in_version_2() {
    let one = Owned {
        metadata: Some((Kind::Counter, "Requests served.".into(), "requests".into())),
        samples: vec![(5, 1.0f64.to_bits(), Some(2)), (6, 2.0f64.to_bits(), Some(2))],
        ..series(&[("__name__", "requests_total")], &[])
    };
    let (found, _) =
        read(Version::V2, &uncompressed(&written(Version::V2, std::slice::from_ref(&one)))).unwrap();
    assert_eq!(found, [one]);
}

#[test]
fn start_time_of_earlier_candidates_is_read() {
    let message = v2::Request {
        symbols: vec!["".into(), "__name__".into(), "a_total".into()],
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![1, 2],
            samples: vec![v2::Point { value: Some(1.0), timestamp: 9, start_timestamp: 0 }],
            metadata: None,
        }],
    };
    let mut bytes = message.encode_to_vec();
    // `created_timestamp = 6` of the series, as the last of its fields.
    let series_at = bytes.len() - message.timeseries[0].encoded_len() - 1;
    bytes[series_at] += 2;
    bytes.extend([0x30, 7]);
    assert_eq!(read(Version::V2, &bytes).unwrap().0[0].samples, [(9, 1.0f64.to_bits(), Some(7))]);
}

#[test]
fn families_stand_beside_series_in_version_1() {
    let mut encoder = Encoder::new(Version::V1, Limits::default());
    let metadata = Metadata { kind: Kind::Histogram, help: "How long.", unit: "seconds" };
    encoder.family("latency_seconds", metadata);
    let mut found = Vec::new();
    let message = uncompressed(&encoder.finish().unwrap());
    decode(Version::V1, &message, &Limits::default(), |pushed| {
        if let Pushed::Family { name, metadata } = pushed {
            found.push((name.to_owned(), metadata.kind, metadata.help.to_owned(), metadata.unit.to_owned()));
        }
    })
    .unwrap();
    assert_eq!(found, [("latency_seconds".into(), Kind::Histogram, "How long.".into(), "seconds".into())]);
}

#[test]
fn encoder_sorts_cleans_and_begins_again() {
    for version in [Version::V1, Version::V2] {
        let mut encoder = Encoder::new(version, Limits::default());
        series(&[("z", "1"), ("empty", ""), ("__name__", "a")], &[(1, 2.0)]).push(&mut encoder).unwrap();
        let refused = series(&[("z", "1")], &[(1, 2.0)]).push(&mut encoder);
        assert_eq!(refused, Err(SeriesFault::NoName));
        assert_eq!(encoder.n_samples(), 1);
        assert!(encoder.n_bytes() > 10);
        let first = encoder.finish().unwrap();
        assert_eq!((encoder.n_samples(), encoder.n_bytes()), (0, 0));
        let (found, _) = read(version, &uncompressed(&first)).unwrap();
        assert_eq!(found, [series(&[("__name__", "a"), ("z", "1")], &[(1, 2.0)])]);
        series(&[("__name__", "b")], &[(3, 4.0)]).push(&mut encoder).unwrap();
        let (found, _) = read(version, &uncompressed(&encoder.finish().unwrap())).unwrap();
        assert_eq!(found, [series(&[("__name__", "b")], &[(3, 4.0)])], "{version:?}");
    }
}

/// Bodies as a real one sent them, scraping itself.
#[test]
fn prometheus_2_42_is_understood() {
    let message = uncompressed(include_bytes!("captured/prometheus-2.42-samples.snappy"));
    let (found, outcome) = read(Version::V1, &message).unwrap();
    assert_eq!((outcome.n_series_refused, outcome.n_samples), (0, found.len() as u64), "{outcome}");
    let labels =
        |it: &Owned| it.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let up = found.iter().find(|it| labels(it)[0] == "__name__=up").expect("it scrapes itself");
    assert_eq!(labels(up)[1..], ["instance=127.0.0.1:39191", "job=prometheus"]);
    assert_eq!(f64::from_bits(up.samples[0].1), 1.0);
    let quantile =
        ["__name__=go_gc_duration_seconds", "instance=127.0.0.1:39191", "job=prometheus", "quantile=0"];
    assert_eq!(labels(&found[0]), quantile);
}

#[test]
fn families_of_prometheus_2_42_are_understood() {
    let message = uncompressed(include_bytes!("captured/prometheus-2.42-families.snappy"));
    let mut found = Vec::new();
    let outcome = decode(Version::V1, &message, &Limits::default(), |pushed| match pushed {
        Pushed::Family { name, metadata } => {
            found.push((name.to_owned(), metadata.kind, metadata.help.to_owned()));
        }
        Pushed::Series(series) => panic!("{series:?} beside families"),
    });
    assert_eq!(outcome, Ok(Outcome::default()));
    let known = |name: &str, kind, help: &str| {
        assert!(found.contains(&(name.into(), kind, help.into())), "{name}: {found:#?}");
    };
    known("process_cpu_seconds_total", Kind::Counter, "Total user and system CPU time spent in seconds.");
}

/// As the usual protobuf library writes it from the published definition.
#[test]
fn version_2_of_the_published_definition_is_understood() {
    let (found, outcome) =
        read(Version::V2, &uncompressed(include_bytes!("captured/protobuf-2.0.snappy"))).unwrap();
    let start_ms = Some(1_600_000_000_000);
    let requests = Owned {
        metadata: Some((Kind::Counter, "Requests served.".into(), "requests".into())),
        samples: vec![
            (1_700_000_000_000, 3.0f64.to_bits(), start_ms),
            (1_700_000_010_000, ABSENT.to_bits(), start_ms),
        ],
        ..series(&[("__name__", "http_requests_total"), ("job", "api")], &[])
    };
    assert_eq!(found, [requests]);
    let wanted = Outcome {
        n_samples: 2,
        n_histograms_unsupported: 1,
        n_exemplars_unsupported: 1,
        ..Outcome::default()
    };
    assert_eq!(outcome, wanted);
}

/// A request of version 1 from labels as they are.
fn v1_message(labels: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        for (tag, bytes) in [(0x0a, name), (0x12, value)] {
            label.push(tag);
            label.push(bytes.len() as u8);
            label.extend_from_slice(bytes);
        }
        series.push(0x0a);
        series.push(label.len() as u8);
        series.extend(label);
    }
    series.extend([0x12, 2, 0x10, 5]);
    [&[0x0a, series.len() as u8][..], &series].concat()
}

fn v2_message(symbols: &[&str], labels_refs: &[u32]) -> Vec<u8> {
    let series = v2::TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![v2::Point { value: Some(1.0), timestamp: 2, start_timestamp: 0 }],
        metadata: None,
    };
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    v2::Request { symbols, timeseries: vec![series] }.encode_to_vec()
}

fn refusal(version: Version, message: &[u8]) -> String {
    let (found, outcome) = read(version, message).unwrap();
    assert_eq!((found.len(), outcome.n_samples, outcome.n_samples_refused), (0, 0, 1));
    outcome.to_string()
}

#[test]
fn wrong_series_of_version_1_are_refused_with_words() {
    let name = (&b"__name__"[..], &b"up"[..]);
    for (labels, wrong) in [
        (&[][..], "series 1: it has no label __name__ with the name of a metric"),
        (&[(&b"__name__"[..], &b""[..])], "series 1: it has no label __name__ with the name of a metric"),
        (&[name, (b"", b"x")], "series 1 (up): a label has no name"),
        (&[name, (b"a", b"1"), (b"a", b"2")], "series 1 (up): label \"a\" is there twice"),
        (&[(b"a", b"1"), name], "series 1 (up): label \"__name__\" comes after \"a\"; sort labels by name"),
        (&[name, (b"a", b"\xff")], "series 1 (up): \"\u{fffd}\" is not UTF-8"),
        (&[name, (b"\xc3", b"a")], "series 1 (up): \"\u{fffd}\" is not UTF-8"),
    ] {
        assert_eq!(refusal(Version::V1, &v1_message(labels)), wrong);
    }
}

#[test]
fn wrong_series_of_version_2_are_refused_with_words() {
    let symbols = ["", "__name__", "up", "a", "b"];
    for (refs, wrong) in [
        (&[][..], "series 1: it has no label __name__ with the name of a metric"),
        (&[1, 0], "series 1: it has no label __name__ with the name of a metric"),
        (
            &[1, 2, 3],
            "series 1 (up): its labels have 3 references, an odd number; each needs a name and a value",
        ),
        (&[1, 2, 3, 5], "series 1 (up): it refers to string 5, and the table holds 5"),
        (&[1, 2, u32::MAX, 3], "series 1 (up): it refers to string 4294967295, and the table holds 5"),
        (&[1, 2, 0, 3], "series 1 (up): a label has no name"),
        (&[1, 2, 3, 4, 3, 4], "series 1 (up): label \"a\" is there twice"),
        (&[1, 2, 4, 3, 3, 4], "series 1 (up): label \"a\" comes after \"b\"; sort labels by name"),
    ] {
        assert_eq!(refusal(Version::V2, &v2_message(&symbols, refs)), wrong);
    }
    let mut message = v2_message(&["", "__name__", "up", "a", "@@"], &[1, 2, 3, 4]);
    let place = message.windows(2).position(|pair| pair == b"@@").unwrap();
    message[place] = 0xff;
    assert_eq!(refusal(Version::V2, &message), "series 1 (up): \"string 4 of the table\" is not UTF-8");
    let first = read(Version::V2, &v2_message(&["up"], &[0, 0])).unwrap_err();
    assert_eq!(
        first.to_string(),
        "the table of strings begins with \"up\"; it must begin with an empty string"
    );
}

#[test]
fn a_wrong_series_does_not_take_others_with_it() {
    let message = [
        v1_message(&[(b"__name__", b"a")]),
        v1_message(&[(b"no", b"name")]),
        v1_message(&[(b"__name__", b"b")]),
    ]
    .concat();
    let (found, outcome) = read(Version::V1, &message).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(outcome.refusals, [Refusal { series: 2, name: String::new(), fault: SeriesFault::NoName }]);
    assert_eq!((outcome.n_samples, outcome.n_samples_refused, outcome.status()), (2, 1, 400));
}

#[test]
fn histograms_and_exemplars_are_counted() {
    let one = v1_message(&[(b"__name__", b"a")]);
    // Field 3 of a series of 1.0 is an exemplar, field 4 a histogram; 2.0 has it the other way round.
    let message = [&[0x0a, one[1] + 6], &one[2..], &[0x1a, 0, 0x22, 0, 0x22, 0]].concat();
    let (found, outcome) = read(Version::V1, &message).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((outcome.n_histograms_unsupported, outcome.n_exemplars_unsupported), (2, 1));
    assert_eq!((outcome.status(), outcome.written().n_histograms), (204, 0));
    let message = [&[0x22, 0][..], &[0x2a, 6, 0x1a, 0, 0x1a, 0, 0x22, 0]].concat();
    let (_, outcome) = read(Version::V2, &message).unwrap();
    assert_eq!((outcome.n_histograms_unsupported, outcome.n_exemplars_unsupported), (2, 1));
}

#[test]
fn headers_say_the_version() {
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (content_type, encoding, wanted) in [
        (None, None, Some(Version::V1)),
        (Some("application/x-protobuf"), Some("snappy"), Some(Version::V1)),
        (Some("application/x-protobuf; proto=prometheus.WriteRequest"), Some("Snappy"), Some(Version::V1)),
        (Some(v2), Some("snappy"), Some(Version::V2)),
        (Some("Application/X-Protobuf; Proto=\"io.prometheus.write.v2.Request\""), None, Some(Version::V2)),
        (Some("application/x-protobuf;proto=io.prometheus.write.v3.Request"), None, None),
        (Some("application/json"), None, None),
        (Some("image/png"), Some("snappy"), None),
        (Some(v2), Some("gzip"), None),
        (Some("application/x-protobuf"), Some("zstd"), None),
    ] {
        let asked = Version::asked(content_type, encoding);
        assert_eq!(asked.as_ref().ok().copied(), wanted, "{content_type:?} {encoding:?}");
        if let Err(error) = asked {
            assert_eq!(error.status(), 415, "{error}");
        }
    }
    for version in [Version::V1, Version::V2] {
        assert_eq!(Version::asked(Some(version.content_type()), Some(CONTENT_ENCODING)), Ok(version));
    }
    let error = Version::asked(Some("text/plain"), None).unwrap_err().to_string();
    assert!(error.starts_with("Content-Type is \"text/plain\"; send application/x-protobuf"), "{error}");
}

#[test]
fn blocks_that_lie_about_their_length_are_refused() {
    let mut message = Vec::new();
    let mut refused = |block: &[u8]| {
        let error = decompress(block, &Limits::default(), &mut message).unwrap_err();
        assert!(message.capacity() < 1 << 20, "{} bytes for {block:02x?}", message.capacity());
        error
    };
    // Claims 1 GiB.
    let error = refused(&[0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x00]);
    assert_eq!((error.status(), &error), (413, &RequestError::TooLong { n_bytes: 1 << 30, max: 32 << 20 }));
    // Claims 16 MiB, which five bytes cannot hold.
    let error = refused(&[0x80, 0x80, 0x80, 0x08, 0x00]).to_string();
    assert!(error.contains("5 bytes cannot hold the 16777216 that they claim"), "{error}");
    assert_eq!(refused(b"").status(), 400);
    assert_eq!(refused(b"\xff\x06\x00\x00sNaPpY").status(), 400);
    assert_eq!(refused(&[0x05, 0x10, b'a']).status(), 400);
}

#[test]
fn longest_expansion_of_snappy_is_taken() {
    let message = vec![0u8; 8 << 20];
    let block = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    assert_eq!(uncompressed(&block), message);
}

#[test]
fn a_million_labels_are_refused_in_little_memory() {
    // Empty labels: `0a 00` each, in one series.
    let n_labels = 1_000_000;
    let mut message = vec![0x0a];
    prost::encode_length_delimiter(2 * n_labels, &mut message).unwrap();
    message.extend([0x0a, 0].repeat(n_labels));
    let (found, outcome) = read(Version::V1, &message).unwrap();
    assert_eq!((found.len(), outcome.n_series_refused), (0, 1));
    assert_eq!(outcome.refusals[0].fault, SeriesFault::TooManyLabels { max: 256 });

    // References to the same two strings.
    let mut series = vec![0x0a];
    prost::encode_length_delimiter(2 * n_labels, &mut series).unwrap();
    series.extend([1, 2].repeat(n_labels));
    let mut message = vec![0x22, 0, 0x22, 1, b'a', 0x22, 1, b'b', 0x2a];
    prost::encode_length_delimiter(series.len(), &mut message).unwrap();
    message.extend(series);
    let (_, outcome) = read(Version::V2, &message).unwrap();
    assert_eq!(outcome.refusals[0].fault, SeriesFault::TooManyLabels { max: 256 });
}

#[test]
fn a_million_samples_come_in_parts() {
    let n_samples = 1_000_000;
    let labels = &v1_message(&[(b"__name__", b"a")])[2..];
    let mut message = vec![0x0a];
    prost::encode_length_delimiter(labels.len() + 2 * n_samples, &mut message).unwrap();
    message.extend_from_slice(labels);
    message.extend([0x12, 0].repeat(n_samples));
    let (mut longest, mut n_found) = (0, 0);
    decode(Version::V1, &message, &Limits::default(), |pushed| {
        let Pushed::Series(series) = pushed else { panic!("only a series was sent") };
        longest = longest.max(series.samples.len());
        n_found += series.samples.len();
    })
    .unwrap();
    assert_eq!((longest, n_found), (PART_SAMPLES_MAX, n_samples + 1));
}

#[test]
fn two_million_strings_are_refused() {
    let message = [0x22, 0].repeat(2_200_000);
    let error = read(Version::V2, &message).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table of strings has more than 2097152 entries; send it in smaller parts"
    );
}

#[test]
fn labels_told_again_and_again_stay_in_proportion() {
    let limits = Limits { message_bytes_max: 1 << 10, expansion_max: 2, ..Limits::default() };
    let long = "v".repeat(500);
    let mut request =
        v2::Request { symbols: vec!["".into(), "__name__".into(), long], timeseries: Vec::new() };
    let sample = v2::Point { value: Some(1.0), timestamp: 2, start_timestamp: 0 };
    let one = v2::TimeSeries { labels_refs: vec![1, 2], samples: vec![sample], metadata: None };
    request.timeseries = vec![one; 20];
    let mut n_series = 0;
    let outcome = decode(Version::V2, &request.encode_to_vec(), &limits, |_| n_series += 1).unwrap();
    assert_eq!((n_series, outcome.n_series_refused), (4, 16));
    assert_eq!(outcome.refusals[0].fault, SeriesFault::RequestTooLong { max: 2 << 10 });
}

#[test]
fn message_longer_than_allowed_is_refused() {
    let limits = Limits { message_bytes_max: 10, ..Limits::default() };
    let error = decode(Version::V1, &[0; 11], &limits, |_| {}).unwrap_err();
    assert_eq!(error, RequestError::TooLong { n_bytes: 11, max: 10 });
}

#[test]
fn nothing_is_handed_on_before_a_message_is_known_to_be_whole() {
    let message = [v1_message(&[(b"__name__", b"a")]), vec![0x0a, 9]].concat();
    let mut n_series = 0;
    let error = decode(Version::V1, &message, &Limits::default(), |_| n_series += 1).unwrap_err();
    assert_eq!(n_series, 0);
    assert_eq!(error.to_string(), "field 1 of WriteRequest is cut off: the request did not arrive whole");
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), any::<f64>().prop_map(f64::to_bits), Just(ABSENT.to_bits())]
}

fn any_series() -> impl Strategy<Value = Owned> {
    let labels = proptest::collection::btree_map("[a-zµ.\"{]{1,6}", "[a-z\\\\\"\n ]{1,6}", 0..5);
    const KINDS: &[Kind] = &[Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped];
    let metadata = (proptest::sample::select(KINDS), "[a-z ]{0,9}", "[a-z]{0,4}");
    let sample = (any::<i64>(), any_value(), proptest::option::of(1i64..));
    (labels, proptest::option::of(metadata), proptest::collection::vec(sample, 1..5)).prop_map(
        |(mut labels, metadata, samples)| {
            labels.insert("__name__".into(), "a_name".into());
            Owned { labels: labels.into_iter().collect(), metadata, samples }
        },
    )
}

proptest! {
    #[test]
    fn any_series_survive_version_2(all in proptest::collection::vec(any_series(), 0..6)) {
        let (found, outcome) = read(Version::V2, &uncompressed(&written(Version::V2, &all))).unwrap();
        prop_assert_eq!(&found, &all);
        prop_assert_eq!(outcome.n_series_refused, 0);
    }

    #[test]
    fn any_series_survive_version_1_but_for_what_it_lacks(mut all in proptest::collection::vec(any_series(), 0..6)) {
        let (found, _) = read(Version::V1, &uncompressed(&written(Version::V1, &all))).unwrap();
        for series in &mut all {
            series.metadata = None;
            series.samples.iter_mut().for_each(|(_, _, start_ms)| *start_ms = None);
        }
        prop_assert_eq!(found, all);
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decompress(&bytes, &Limits::default(), &mut Vec::new());
        for version in [Version::V1, Version::V2] {
            let _ = read(version, &bytes);
        }
    }

    #[test]
    fn changed_and_cut_messages_are_answered(
        all in proptest::collection::vec(any_series(), 1..4),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for version in [Version::V1, Version::V2] {
            let mut message = uncompressed(&written(version, &all));
            let place = place.index(message.len());
            let cut = read(version, &message[..place]);
            if let Ok((found, _)) = cut {
                prop_assert!(found.len() <= all.len());
            }
            message[place] = byte;
            let _ = read(version, &message);
        }
    }

    /// Where ours reads version 1 whole, prost reads the same.
    #[test]
    fn prost_agrees(all in proptest::collection::vec(any_series(), 1..4), place in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut message = uncompressed(&written(Version::V1, &all));
        let place = place.index(message.len());
        message[place] = byte;
        let (Ok((found, outcome)), Ok(oracle)) = (read(Version::V1, &message), v1::WriteRequest::decode(&*message)) else {
            return Ok(());
        };
        if outcome.n_series_refused == 0 {
            let n_samples: usize = oracle.timeseries.iter().map(|series| series.samples.len()).sum();
            prop_assert_eq!(outcome.n_samples, n_samples as u64);
            let times = found.iter().flat_map(|series| &series.samples).map(|sample| (sample.0, sample.1));
            let theirs = oracle.timeseries.iter().flat_map(|series| &series.samples);
            prop_assert!(times.eq(theirs.map(|sample| (sample.timestamp, sample.value.unwrap_or(0.0).to_bits()))));
        }
    }
}
