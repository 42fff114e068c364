//! `ExportMetricsServiceRequest` (`metrics_service.proto`, `metrics.proto`): its messages and the way through them,
//! resource by resource and metric by metric. What is made of a metric's points is in `points`.

use std::mem::size_of;

use fieldpost_model::TimeMs;
use prost::{Message, Oneof};

use super::partial::Rejections;
use super::points::{Target, Translation};
use super::value::{KEY_VALUE, KeyValue, RESOURCE, Resource};
use super::{OtlpError, PART_COST_MAX, check_length};
use crate::pushed::{Limits, Pushed};
use crate::wire::{Shape, Type, Value, check, fields};

/// Fields of `Metric` that hold points: gauge, sum, histogram, exponential histogram, summary.
const DATA_FIELDS: [u32; 5] = [5, 7, 9, 10, 11];

static REQUEST: Shape =
    Shape { name: "ExportMetricsServiceRequest", cost: 0, fields: &[(1, Type::Message(&RESOURCE_METRICS))] };
static RESOURCE_METRICS: Shape = Shape {
    name: "ResourceMetrics",
    cost: 0,
    fields: &[(1, Type::Message(&RESOURCE)), (2, Type::Message(&SCOPE_METRICS))],
};
static SCOPE_METRICS: Shape = Shape { name: "ScopeMetrics", cost: 0, fields: &[(2, Type::Message(&METRIC))] };
static METRIC: Shape = Shape {
    name: "Metric",
    cost: 0,
    fields: &[
        (1, Type::Bytes),
        (2, Type::Bytes),
        (3, Type::Bytes),
        (5, Type::Message(&NUMBERS)),
        (7, Type::Message(&NUMBERS)),
        (9, Type::Message(&HISTOGRAM)),
        (10, Type::Message(&EXPONENTIAL)),
        (11, Type::Message(&SUMMARY)),
    ],
};
/// Gauges and sums: a gauge has the first field only.
static NUMBERS: Shape = Shape {
    name: "Sum",
    cost: 0,
    fields: &[(1, Type::Message(&NUMBER_POINT)), (2, Type::Varint), (3, Type::Varint)],
};
static NUMBER_POINT: Shape = Shape {
    name: "NumberDataPoint",
    cost: 2 * size_of::<NumberPoint>(),
    fields: &[
        (2, Type::Fixed64),
        (3, Type::Fixed64),
        (4, Type::Fixed64),
        (6, Type::Fixed64),
        (7, Type::Message(&KEY_VALUE)),
        (8, Type::Varint),
    ],
};
static HISTOGRAM: Shape =
    Shape { name: "Histogram", cost: 0, fields: &[(1, Type::Message(&HISTOGRAM_POINT)), (2, Type::Varint)] };
static HISTOGRAM_POINT: Shape = Shape {
    name: "HistogramDataPoint",
    cost: 2 * size_of::<HistogramPoint>(),
    fields: &[
        (2, Type::Fixed64),
        (3, Type::Fixed64),
        (4, Type::Fixed64),
        (5, Type::Fixed64),
        (6, Type::Fixed64s),
        (7, Type::Fixed64s),
        (9, Type::Message(&KEY_VALUE)),
        (10, Type::Varint),
    ],
};
/// Its points are counted, not read.
static EXPONENTIAL: Shape =
    Shape { name: "ExponentialHistogram", cost: 0, fields: &[(1, Type::Bytes), (2, Type::Varint)] };
static SUMMARY: Shape = Shape { name: "Summary", cost: 0, fields: &[(1, Type::Message(&SUMMARY_POINT))] };
static SUMMARY_POINT: Shape = Shape {
    name: "SummaryDataPoint",
    cost: 2 * size_of::<SummaryPoint>(),
    fields: &[
        (2, Type::Fixed64),
        (3, Type::Fixed64),
        (4, Type::Fixed64),
        (5, Type::Fixed64),
        (6, Type::Message(&QUANTILE)),
        (7, Type::Message(&KEY_VALUE)),
        (8, Type::Varint),
    ],
};
static QUANTILE: Shape = Shape {
    name: "ValueAtQuantile",
    cost: 2 * size_of::<Quantile>(),
    fields: &[(1, Type::Fixed64), (2, Type::Fixed64)],
};

/// The request, as it is written. Its parts are written before.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    /// Messages `ScopeMetrics`, written.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) scope_metrics: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<MetricMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 9, 11")]
    pub(super) data: Option<Data>,
}

/// Exponential histograms are left out: they are recognised before and not read.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "11")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    pub(super) temporality: i32,
    #[prost(bool, tag = "3")]
    pub(super) is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<HistogramPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    pub(super) temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<SummaryPoint>,
}

/// `AggregationTemporality`: since when a sum sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Temporality {
    Unspecified = 0,
    /// Since the last report.
    Delta = 1,
    /// Since the start.
    Cumulative = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberPoint {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(oneof = "Number", tags = "4, 6")]
    pub(super) value: Option<Number>,
    #[prost(uint32, tag = "8")]
    pub(super) flags: u32,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramPoint {
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) explicit_bounds: Vec<f64>,
    #[prost(uint32, tag = "10")]
    pub(super) flags: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SummaryPoint {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, tag = "5")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "6")]
    pub(super) quantile_values: Vec<Quantile>,
    #[prost(uint32, tag = "8")]
    pub(super) flags: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

/// Reads a request and hands on its series. Points without an instant get the one of arrival. On an error nothing was
/// handed on; what was rejected of a sound request is in the answer.
pub fn decode_metrics(
    message: &[u8],
    limits: &Limits,
    received_ms: TimeMs,
    visit: impl FnMut(Pushed<'_>),
) -> Result<Rejections, OtlpError> {
    check_length(message, limits)?;
    check(message, &REQUEST, usize::MAX)?;
    let mut translation = Translation::new(limits, received_ms, visit);
    for resource_metrics in parts(message, 1) {
        let target = target(resource_metrics);
        let metrics = parts(resource_metrics, 2).flat_map(|scope| parts(scope, 2));
        match target {
            Ok(mut target) => {
                metrics.for_each(|bytes| metric(bytes, &mut target, &mut translation));
                translation.target_info(&target);
            }
            Err(reason) => metrics.for_each(|bytes| translation.reject("", n_points(bytes), &reason)),
        }
    }
    Ok(translation.finish())
}

/// The messages in a field of a checked message.
pub(super) fn parts(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    fields(message).filter(move |field| field.number == number).map(|field| field.value.bytes())
}

/// Reads the resource; its parts are joined, as protobuf asks.
fn target(resource_metrics: &[u8]) -> Result<Target, String> {
    let resource = parts(resource_metrics, 1).collect::<Vec<_>>().concat();
    Ok(Target::new(&read::<Resource>(&resource, &RESOURCE)?.attributes))
}

fn metric<V: FnMut(Pushed<'_>)>(bytes: &[u8], target: &mut Target, translation: &mut Translation<'_, V>) {
    let is_exponential = fields(bytes).any(|field| field.number == 10);
    if is_exponential {
        let name = parts(bytes, 1).last().unwrap_or_default();
        let reason = "exponential histograms are not supported; have it record explicit buckets";
        return translation.reject(&String::from_utf8_lossy(name), n_points(bytes), reason);
    }
    match read::<MetricMessage>(bytes, &METRIC) {
        Ok(metric) => translation.metric(&metric, target),
        Err(reason) => translation.reject("", n_points(bytes), reason),
    }
}

/// Reads a part of a checked request, unless it takes too much memory or holds text that is none.
pub(super) fn read<M: Message + Default>(bytes: &[u8], shape: &'static Shape) -> Result<M, String> {
    check(bytes, shape, PART_COST_MAX).map_err(|error| error.to_string())?;
    M::decode(bytes).map_err(|error| error.to_string())
}

/// How many points a metric has, of whatever kind.
fn n_points(metric: &[u8]) -> u64 {
    let data = fields(metric).filter(|field| DATA_FIELDS.contains(&field.number));
    let n_points = |value: Value<'_>| parts(value.bytes(), 1).count() as u64;
    data.map(|field| n_points(field.value)).sum()
}
