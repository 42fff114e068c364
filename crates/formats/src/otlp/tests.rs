//! Tests of OTLP: what Prometheus' own receiver would make of points, what is rejected and with which words, and that
//! our own requests are understood.

use fieldpost_model::{ABSENT, Kind, TimeMs};
use proptest::prelude::*;
use prost::Message;

use super::logs::RecordMessage;
use super::metrics::{
    Data, Gauge, Histogram, HistogramPoint, MetricMessage, Number, NumberPoint, Quantile, Request,
    ResourceMetrics, Scope, ScopeMetrics, Sum, Summary, SummaryPoint, Temporality,
};
use super::value::{AnyValue, ArrayValue, KeyValue, Resource, Value};
use super::*;
use crate::pushed::{Pushed, Sample};

/// When requests arrive.
const RECEIVED_MS: TimeMs = 1_800_000_000_000;
/// When points are taken, unless a test says otherwise.
const TIME_MS: TimeMs = 1_700_000_000_123;
const TIME_NANO: u64 = TIME_MS as u64 * 1_000_000 + 999;
const START_NANO: u64 = 1_600_000_000_000 * 1_000_000;

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| KeyValue::text(key, value)).collect()
}

fn number(pairs: &[(&str, &str)], value: Number) -> NumberPoint {
    NumberPoint {
        attributes: attributes(pairs),
        start_time_unix_nano: START_NANO,
        time_unix_nano: TIME_NANO,
        value: Some(value),
        flags: 0,
    }
}

fn metric(name: &str, unit: &str, data: Data) -> MetricMessage {
    MetricMessage { name: name.into(), description: "Help.".into(), unit: unit.into(), data: Some(data) }
}

fn gauge(name: &str, unit: &str, points: Vec<NumberPoint>) -> MetricMessage {
    metric(name, unit, Data::Gauge(Gauge { data_points: points }))
}

fn sum(name: &str, temporality: Temporality, is_monotonic: bool) -> MetricMessage {
    let data_points = vec![number(&[], Number::Int(7))];
    metric(name, "By", Data::Sum(Sum { data_points, temporality: temporality.into(), is_monotonic }))
}

fn request(resource: &[(&str, &str)], metrics: Vec<MetricMessage>) -> Vec<u8> {
    let scope = Some(Scope { name: "lib".into(), version: "1".into() });
    let scope = ScopeMetrics { scope, metrics }.encode_to_vec();
    let resource = Some(Resource { attributes: attributes(resource) });
    let resource = ResourceMetrics { resource, scope_metrics: vec![scope] };
    Request { resource_metrics: vec![resource] }.encode_to_vec()
}

/// Every sample as a line of text, and what was rejected.
fn lines(message: &[u8]) -> (Vec<String>, Rejections) {
    let mut lines = Vec::new();
    let rejections = decode_metrics(message, &Limits::default(), RECEIVED_MS, |pushed| {
        let Pushed::Series(series) = pushed else { panic!("families come with their series") };
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for sample in series.samples {
            lines.push(format!("{} {} {}", labels.join(","), sample.value, sample.time_ms - TIME_MS));
        }
    });
    (lines, rejections.unwrap())
}

fn line(message: &[u8]) -> String {
    let (lines, rejections) = lines(message);
    assert_eq!((lines.len(), rejections), (1, Rejections::default()), "{lines:?}");
    lines[0].clone()
}

fn rejection(metric: MetricMessage) -> String {
    let (lines, rejections) = lines(&request(&[], vec![metric]));
    assert_eq!(lines, [""; 0]);
    format!("{} of {rejections}", rejections.n_rejected)
}

#[test]
fn gauges_and_sums_get_their_names() {
    let half = || vec![number(&[], Number::Double(0.5))];
    assert_eq!(line(&request(&[], vec![gauge("a.b", "", half())])), "__name__=a_b 0.5 0");
    assert_eq!(line(&request(&[], vec![gauge("a.b", "1", half())])), "__name__=a_b_ratio 0.5 0");
    let cumulative = |is_monotonic| request(&[], vec![sum("sent", Temporality::Cumulative, is_monotonic)]);
    assert_eq!(line(&cumulative(true)), "__name__=sent_bytes_total 7 0");
    assert_eq!(line(&cumulative(false)), "__name__=sent_bytes 7 0");
}

#[test]
fn metadata_and_start_times_come_with_series() {
    let message = request(&[], vec![sum("sent", Temporality::Cumulative, true)]);
    let mut n_series = 0;
    let visit = |pushed: Pushed<'_>| {
        let Pushed::Series(series) = pushed else { panic!("families come with their series") };
        let metadata = series.metadata.unwrap();
        assert_eq!((metadata.kind, metadata.help, metadata.unit), (Kind::Counter, "Help.", "bytes"));
        let start_ms = Some(1_600_000_000_000);
        assert_eq!(series.samples, [Sample { time_ms: TIME_MS, value: 7.0, start_ms }]);
        n_series += 1;
    };
    decode_metrics(&message, &Limits::default(), RECEIVED_MS, visit).unwrap();
    assert_eq!(n_series, 1);
}

#[test]
fn attributes_become_labels() {
    let several = [("z", "1"), ("http.method", "GET"), ("a", ""), ("http_method", "b"), ("http/method", "a")];
    let message = request(&[], vec![gauge("m", "", vec![number(&several, Number::Int(1))])]);
    // In the order of their keys: '.' is before '/', and both before '_'.
    assert_eq!(line(&message), "__name__=m,http_method=GET;a;b,z=1 1 0");

    let mut point = number(&[("name", "wrong"), ("__name__", "wrong")], Number::Int(1));
    let list = ArrayValue { values: vec![AnyValue { value: Some(Value::Bool(true)) }] };
    let value = Some(AnyValue { value: Some(Value::Array(list)) });
    point.attributes.push(KeyValue { key: "list".into(), value });
    assert_eq!(
        line(&request(&[], vec![gauge("m", "", vec![point])])),
        "__name__=m,list=[true],name=wrong 1 0"
    );
}

#[test]
fn resource_becomes_job_instance_and_target_info() {
    let resource = [
        ("service.name", "shop"),
        ("service.namespace", "eu"),
        ("service.instance.id", "i-1"),
        ("host.name", "h"),
        ("os.type", "linux"),
    ];
    let point = number(&[("job", "overridden")], Number::Int(1));
    let (found, _) = lines(&request(&resource, vec![gauge("m", "", vec![point])]));
    assert_eq!(
        found,
        [
            "__name__=m,instance=i-1,job=eu/shop 1 0",
            "__name__=target_info,host_name=h,instance=i-1,job=eu/shop,os_type=linux 1 0",
        ]
    );
    // Nothing is known beside the identity, or the identity is not.
    for resource in [&resource[..3], &resource[3..]] {
        let (found, _) = lines(&request(resource, vec![gauge("m", "", vec![number(&[], Number::Int(1))])]));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

fn histogram(bucket_counts: &[u64], explicit_bounds: &[f64], flags: u32) -> MetricMessage {
    let point = HistogramPoint {
        attributes: attributes(&[("le", "mine"), ("path", "/")]),
        start_time_unix_nano: START_NANO,
        time_unix_nano: TIME_NANO,
        count: 6,
        sum: Some(3.5),
        bucket_counts: bucket_counts.to_vec(),
        explicit_bounds: explicit_bounds.to_vec(),
        flags,
    };
    let temporality = Temporality::Cumulative.into();
    metric("latency", "s", Data::Histogram(Histogram { data_points: vec![point], temporality }))
}

#[test]
fn histograms_become_cumulative_buckets() {
    let (found, _) = lines(&request(&[], vec![histogram(&[1, 2, 3], &[0.5, 1e6], 0)]));
    assert_eq!(
        found,
        [
            "__name__=latency_seconds_bucket,le=0.5,path=/ 1 0",
            "__name__=latency_seconds_bucket,le=1e+06,path=/ 3 0",
            "__name__=latency_seconds_bucket,le=+Inf,path=/ 6 0",
            "__name__=latency_seconds_sum,le=mine,path=/ 3.5 0",
            "__name__=latency_seconds_count,le=mine,path=/ 6 0",
        ]
    );
    let (found, _) = lines(&request(&[], vec![histogram(&[], &[], 0)]));
    assert_eq!(found[0], "__name__=latency_seconds_bucket,le=+Inf,path=/ 6 0");
    assert_eq!(found.len(), 3);
}

#[test]
fn summaries_become_quantiles() {
    let point = SummaryPoint {
        attributes: attributes(&[("a", "b")]),
        start_time_unix_nano: START_NANO,
        time_unix_nano: TIME_NANO,
        count: 2,
        sum: 3.0,
        quantile_values: vec![Quantile { quantile: 0.99, value: 2.5 }],
        flags: 0,
    };
    let data = Data::Summary(Summary { data_points: vec![point] });
    let (found, _) = lines(&request(&[], vec![metric("s", "", data)]));
    assert_eq!(
        found,
        ["__name__=s,a=b,quantile=0.99 2.5 0", "__name__=s_sum,a=b 3 0", "__name__=s_count,a=b 2 0"]
    );
}

#[test]
fn points_that_end_a_series_bear_the_mark() {
    let ended = NumberPoint { flags: 1, value: None, ..number(&[], Number::Int(0)) };
    let mut n_marks = 0;
    let message = request(&[], vec![gauge("m", "", vec![ended]), histogram(&[1, 5], &[1.0], 1)]);
    decode_metrics(&message, &Limits::default(), RECEIVED_MS, |pushed| {
        if let Pushed::Series(series) = pushed {
            assert_eq!(series.samples[0].value.to_bits(), ABSENT.to_bits(), "{series:?}");
            n_marks += 1;
        }
    })
    .unwrap();
    assert_eq!(n_marks, 5);
}

#[test]
fn points_without_an_instant_get_that_of_arrival() {
    let point = NumberPoint { time_unix_nano: 0, ..number(&[], Number::Int(1)) };
    let found = line(&request(&[], vec![gauge("m", "", vec![point])]));
    assert_eq!(found, format!("__name__=m 1 {}", RECEIVED_MS - TIME_MS));
}

#[test]
fn what_cannot_be_kept_is_rejected_with_words() {
    let no_delta = "delta temporality is not supported; have the exporter prefer cumulative";
    let no_value = NumberPoint { value: None, ..number(&[], Number::Int(0)) };
    for (metric, wanted) in [
        (sum("a", Temporality::Delta, true), format!("1 of a: {no_delta}")),
        (sum("a", Temporality::Delta, false), format!("1 of a: {no_delta}")),
        (
            sum("a", Temporality::Unspecified, true),
            "1 of a: its temporality is not given; send cumulative".into(),
        ),
        (
            histogram(&[1, 2], &[], 0),
            "1 of latency: a point has 2 buckets for 0 bounds; send one more".into(),
        ),
        (histogram(&[], &[1.0], 0), "1 of latency: a point has 0 buckets for 1 bounds; send one more".into()),
        (gauge("a", "", vec![no_value]), "1 of a: a point has no value".into()),
        (
            gauge("...", "", vec![number(&[], Number::Int(0)); 2]),
            "2 of ...: no letter of its name can be kept".into(),
        ),
        (
            gauge("a", "", vec![number(&[("long", &"x".repeat(70_000))], Number::Int(0))]),
            "1 of a: its labels have 70004 bytes; at most 65536 are taken".into(),
        ),
    ] {
        assert_eq!(rejection(metric), wanted);
    }
}

#[test]
fn rejected_metrics_do_not_take_others_with_them() {
    let point = || vec![number(&[], Number::Int(1))];
    let message = request(
        &[],
        vec![gauge("a", "", point()), sum("d", Temporality::Delta, true), gauge("b", "", point())],
    );
    let (found, rejections) = lines(&message);
    assert_eq!(found, ["__name__=a 1 0", "__name__=b 1 0"]);
    let partial = PartialSuccess::read(&rejections.answer()).unwrap();
    assert_eq!(partial.n_rejected, 1);
    assert!(partial.message.starts_with("d: delta"), "{}", partial.message);
}

/// Puts written messages into a field of another.
fn wrapped(tag: u8, inner: &[u8]) -> Vec<u8> {
    let mut outer = vec![tag];
    prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
    outer.extend_from_slice(inner);
    outer
}

/// A request around one written metric.
fn around(metric: &[u8]) -> Vec<u8> {
    wrapped(0x0a, &wrapped(0x12, &wrapped(0x12, metric)))
}

#[test]
fn exponential_histograms_are_counted_and_rejected() {
    let two_points = wrapped(0x52, &[wrapped(0x0a, &[]), wrapped(0x0a, &[])].concat());
    let (found, rejections) = lines(&around(&[wrapped(0x0a, b"e"), two_points].concat()));
    assert_eq!(found, [""; 0]);
    assert_eq!(rejections.n_rejected, 2);
    assert!(
        rejections.to_string().starts_with("e: exponential histograms are not supported"),
        "{rejections}"
    );
}

#[test]
fn text_that_is_none_is_rejected_with_its_metric() {
    let points = wrapped(0x2a, &wrapped(0x0a, &[]).repeat(3));
    let (_, rejections) = lines(&around(&[wrapped(0x0a, b"\xff"), points].concat()));
    assert_eq!(rejections.n_rejected, 3);
    assert!(rejections.to_string().contains("UTF-8"), "{rejections}");
}

#[test]
fn messages_of_the_wrong_form_are_refused_whole() {
    let refused = |message: &[u8]| {
        let mut n_series = 0;
        let error = decode_metrics(message, &Limits::default(), RECEIVED_MS, |_| n_series += 1).unwrap_err();
        assert_eq!((n_series, error.status()), (0, 400));
        error.to_string()
    };
    let message = request(&[], vec![gauge("a", "", vec![number(&[], Number::Int(1))])]);
    assert!(refused(&message[..message.len() - 1]).contains("is cut off"));
    assert!(refused(b"{\"resourceMetrics\":[]}").contains("ExportMetricsServiceRequest"));
    // Ten thousand lists in one another, as the value of an attribute.
    let deep = (0..10_000).fold(Vec::new(), |inner, _| wrapped(0x2a, &wrapped(0x0a, &inner)));
    let point = wrapped(0x0a, &wrapped(0x3a, &wrapped(0x12, &deep)));
    assert!(refused(&around(&wrapped(0x2a, &point))).contains("messages deep"));
    let long = Limits { message_bytes_max: 3, ..Limits::default() };
    assert_eq!(decode_metrics(&[0; 4], &long, 0, |_| {}).unwrap_err().status(), 413);
}

#[test]
fn a_million_points_that_are_nothing_are_rejected_unread() {
    let points = wrapped(0x2a, &[0x0a, 0].repeat(1_000_000));
    let (_, rejections) = lines(&around(&[wrapped(0x0a, b"m"), points].concat()));
    assert_eq!(rejections.n_rejected, 1_000_000);
    assert!(rejections.to_string().contains("more than 33554432 bytes of memory"), "{rejections}");
}

#[test]
fn buckets_without_end_stay_in_proportion() {
    let n_buckets = 10_000;
    let bounds: Vec<f64> = (0..n_buckets).map(f64::from).collect();
    let metric = histogram(&vec![1; n_buckets as usize + 1], &bounds, 0);
    let limits = Limits { message_bytes_max: 200_000, expansion_max: 1, ..Limits::default() };
    let mut n_label_bytes = 0;
    let rejections = decode_metrics(&request(&[], vec![metric]), &limits, RECEIVED_MS, |pushed| {
        if let Pushed::Series(series) = pushed {
            n_label_bytes +=
                series.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        }
    })
    .unwrap();
    assert!(n_label_bytes <= 200_000, "{n_label_bytes}");
    assert_eq!(rejections.n_rejected, 1);
    assert!(rejections.to_string().contains("more than 200000 bytes together"), "{rejections}");
}

#[test]
fn what_we_write_is_what_we_read() {
    let mut encoder =
        MetricsEncoder::new(&[("service.name", "agent"), ("host.name", "h")], "fieldpost", "0.1.0");
    let sample = |value| Sample { time_ms: TIME_MS, value, start_ms: Some(1_600_000_000_000) };
    let user = Point { attributes: &[("cpu.mode", "user")], sample: sample(1.5) };
    let idle = Point { attributes: &[("cpu.mode", "idle")], sample: sample(ABSENT) };
    let (name, description, unit) = ("system.cpu.time", "Seconds of each mode.", "s");
    encoder.push(Metric { name, description, unit, kind: MetricKind::Counter, points: &[user, idle] });
    let gauge = Point { attributes: &[], sample: Sample { start_ms: None, ..sample(-0.25) } };
    let (name, unit) = ("system.memory.usage", "By");
    encoder.push(Metric { name, description: "", unit, kind: MetricKind::Gauge, points: &[gauge] });
    assert_eq!(encoder.n_points(), 3);
    assert!(encoder.n_bytes() > 100);
    let (found, rejections) = lines(&encoder.finish());
    assert_eq!(
        found,
        [
            "__name__=system_cpu_time_seconds_total,cpu_mode=user,job=agent 1.5 0",
            "__name__=system_cpu_time_seconds_total,cpu_mode=idle,job=agent NaN 0",
            "__name__=system_memory_usage_bytes,job=agent -0.25 0",
            "__name__=target_info,host_name=h,job=agent 1 0",
        ]
    );
    assert_eq!(rejections, Rejections::default());
    assert_eq!((encoder.n_points(), encoder.n_bytes()), (0, 0));
    assert_eq!(lines(&encoder.finish()).0, [""; 0]);
}

/// Bodies as OpenTelemetry's own library sent them.
#[test]
fn sdk_of_opentelemetry_is_understood() {
    let (found, rejections) = lines(include_bytes!("captured/sdk-python-1.45-metrics.protobuf"));
    assert_eq!(rejections, Rejections::default());
    // Without the instant, which is at the end.
    let found: Vec<&str> =
        found.iter().filter_map(|line| line.rsplit_once(' ')).map(|(start, _)| start).collect();
    let who = "instance=i-1,job=eu/shop";
    let sdk = "telemetry_sdk_language=python,telemetry_sdk_name=opentelemetry,telemetry_sdk_version=1.45.2";
    let wanted = [
        format!("__name__=http_server_requests_total,http_method=GET,{who} 3"),
        format!("__name__=http_server_requests_total,http_method=POST,{who} 2"),
        format!("__name__=queue_length,{who} -4"),
        format!("__name__=http_server_duration_seconds_bucket,http_method=GET,{who},le=0.1 1"),
        format!("__name__=http_server_duration_seconds_bucket,http_method=GET,{who},le=1 2"),
        format!("__name__=http_server_duration_seconds_bucket,http_method=GET,{who},le=+Inf 3"),
        format!("__name__=http_server_duration_seconds_sum,http_method=GET,{who} 7.55"),
        format!("__name__=http_server_duration_seconds_count,http_method=GET,{who} 3"),
        format!("__name__=system_memory_utilization_ratio,{who},state=used 0.25"),
        format!("__name__=target_info,host_name=h,{who},{sdk} 1"),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn logs_of_the_sdk_of_opentelemetry_are_understood() {
    let (found, rejections) = log_lines(include_bytes!("captured/sdk-python-1.45-logs.protobuf"));
    assert_eq!((found.len(), rejections), (1, Rejections::default()));
    assert!(
        found[0].contains(" 17ERROR \"disk sda is full\" disk=sda,free=0,code.file.path="),
        "{}",
        found[0]
    );
    assert!(found[0].contains("service.name=shop"), "{}", found[0]);
}

#[test]
fn content_types_and_statuses() {
    for content_type in ["application/x-protobuf", "Application/X-Protobuf; charset=x"] {
        assert_eq!(check_content_type(Some(content_type)), Ok(()));
    }
    let remote_write = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for content_type in [None, Some("application/json"), Some(remote_write)] {
        assert_eq!(check_content_type(content_type).unwrap_err().status(), 415, "{content_type:?}");
    }
    for (status, wanted) in
        [(429, true), (502, true), (503, true), (504, true), (400, false), (500, false), (200, false)]
    {
        assert_eq!(may_retry(status), wanted, "{status}");
    }
}

fn log_request(record: &RecordMessage) -> Vec<u8> {
    let resource = wrapped(0x0a, &Resource { attributes: attributes(&[("host.name", "h")]) }.encode_to_vec());
    let scope = wrapped(0x12, &wrapped(0x12, &record.encode_to_vec()));
    wrapped(0x0a, &[resource, scope].concat())
}

/// Every record as a line of text, and what was rejected.
fn log_lines(message: &[u8]) -> (Vec<String>, Rejections) {
    let mut lines = Vec::new();
    let rejections = decode_logs(message, &Limits::default(), RECEIVED_MS, |record| {
        let shown = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        };
        lines.push(format!(
            "{} {}{} {:?} {} {}",
            record.time_ms - TIME_MS,
            record.severity,
            record.severity_text,
            record.body,
            shown(record.attributes),
            shown(record.resource)
        ));
    });
    (lines, rejections.unwrap())
}

#[test]
fn log_records_come_with_all_they_say() {
    let body = Some(AnyValue { value: Some(Value::String("it burns\n".into())) });
    let record = RecordMessage {
        time_unix_nano: TIME_NANO,
        severity_number: 17,
        severity_text: "ERR".into(),
        body,
        attributes: attributes(&[("b", "2"), ("a", "1")]),
        trace_id: vec![0xab; 2],
        span_id: vec![0; 8],
        observed_time_unix_nano: 5,
        event_name: "fire".into(),
    };
    let (found, rejections) = log_lines(&log_request(&record));
    assert_eq!(found, ["0 17ERR \"it burns\\n\" b=2,a=1,trace_id=abab,event_name=fire host.name=h"]);
    assert_eq!(rejections.answer(), b"");
}

#[test]
fn log_records_without_instant_get_the_next_best() {
    let seen =
        RecordMessage { observed_time_unix_nano: TIME_NANO, severity_number: 99, ..Default::default() };
    assert_eq!(log_lines(&log_request(&seen)).0, ["0 0 \"\"  host.name=h"]);
    let (found, _) = log_lines(&log_request(&RecordMessage::default()));
    assert_eq!(found, [format!("{} 0 \"\"  host.name=h", RECEIVED_MS - TIME_MS)]);
}

#[test]
fn log_records_that_are_no_text_are_rejected_alone() {
    let records = [wrapped(0x12, &wrapped(0x1a, b"\xff")), wrapped(0x12, &[])].concat();
    let (found, rejections) = log_lines(&wrapped(0x0a, &wrapped(0x12, &records)));
    assert_eq!((found.len(), rejections.n_rejected), (1, 1));
    assert!(rejections.to_string().contains("UTF-8"), "{rejections}");
}

fn any_metric() -> impl Strategy<Value = MetricMessage> {
    let pairs = proptest::collection::vec(("[a-z._µ]{0,5}", "\\PC{0,5}"), 0..4);
    let point =
        (pairs, any::<u64>(), any::<f64>(), 0u32..3).prop_map(|(pairs, time_unix_nano, value, flags)| {
            let attributes = pairs.iter().map(|(key, value)| KeyValue::text(key, value)).collect();
            NumberPoint {
                attributes,
                start_time_unix_nano: 1,
                time_unix_nano,
                value: Some(Number::Double(value)),
                flags,
            }
        });
    let points = proptest::collection::vec(point, 0..4);
    (".{0,6}", "[a-zA-Z/{}1%]{0,4}", points, 0i32..4, any::<bool>()).prop_map(
        |(name, unit, data_points, temporality, is_monotonic)| {
            metric(&name, &unit, Data::Sum(Sum { data_points, temporality, is_monotonic }))
        },
    )
}

proptest! {
    #[test]
    fn each_point_is_handed_on_or_rejected(metrics in proptest::collection::vec(any_metric(), 0..4)) {
        let n_points: usize = metrics.iter().map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.len(),
            _ => 0,
        }).sum();
        let (found, rejections) = lines(&request(&[], metrics));
        prop_assert_eq!(found.len() as u64 + rejections.n_rejected, n_points as u64);
    }

    #[test]
    fn changed_and_cut_requests_are_answered(
        metrics in proptest::collection::vec(any_metric(), 1..3),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut message = request(&[("service.name", "x")], metrics);
        message.extend(request(&[("a", "b")], vec![histogram(&[1, 2], &[1.0], 0)]));
        let place = place.index(message.len());
        let _ = decode_metrics(&message[..place], &Limits::default(), 0, |_| {});
        message[place] = byte;
        let _ = decode_metrics(&message, &Limits::default(), 0, |_| {});
        let _ = decode_logs(&message, &Limits::default(), 0, |_| {});
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_metrics(&bytes, &Limits::default(), 0, |_| {});
        let _ = decode_logs(&bytes, &Limits::default(), 0, |_| {});
        let _ = PartialSuccess::read(&bytes);
        // Not cut off at the first byte: within the messages around.
        let _ = decode_metrics(&around(&bytes), &Limits::default(), 0, |_| {});
        let _ = decode_logs(&around(&bytes), &Limits::default(), 0, |_| {});
    }
}
