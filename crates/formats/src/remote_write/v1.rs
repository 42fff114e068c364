//! Remote write 1.0: `prometheus.WriteRequest` of `prompb/remote.proto` and `prompb/types.proto`. Each series
//! carries its labels as text; what is known of families stands beside them.

use fieldpost_model::Kind;
use prost::Message;

use crate::delivery::Delivery;
use crate::pushed::{Label, Limits, Metadata, Outcome, Pushed, PushedSeries, Sample, SeriesFault, text};
use crate::wire::{Field, Shape, Type, WireError, check, fields};

static REQUEST: Shape = Shape {
    name: "WriteRequest",
    cost: 0,
    fields: &[(1, Type::Message(&TIME_SERIES)), (3, Type::Message(&METRIC_METADATA))],
};
static TIME_SERIES: Shape = Shape {
    name: "TimeSeries",
    cost: 0,
    fields: &[(1, Type::Message(&LABEL)), (2, Type::Message(&SAMPLE)), (3, Type::Bytes), (4, Type::Bytes)],
};
static LABEL: Shape = Shape { name: "Label", cost: 0, fields: &[(1, Type::Bytes), (2, Type::Bytes)] };
static SAMPLE: Shape = Shape { name: "Sample", cost: 0, fields: &[(1, Type::Fixed64), (2, Type::Varint)] };
static METRIC_METADATA: Shape = Shape {
    name: "MetricMetadata",
    cost: 0,
    fields: &[(1, Type::Varint), (2, Type::Bytes), (4, Type::Bytes), (5, Type::Bytes)],
};

/// The request, as it is written.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(super) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Point>,
}

impl TimeSeries {
    /// A series with these labels and samples.
    pub(crate) fn of(labels: &[Label<'_>], samples: impl Iterator<Item = Sample>) -> Self {
        let label =
            |(name, value): &Label<'_>| LabelPair { name: (*name).to_owned(), value: (*value).to_owned() };
        let point = |sample: Sample| Point { value: present(sample.value), timestamp: sample.time_ms };
        Self { labels: labels.iter().map(label).collect(), samples: samples.map(point).collect() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Point {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricMetadata {
    /// 0 unknown, then as `kind_number` has it; `prompb/types.proto` has the same numbers as 2.0.
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(string, tag = "2")]
    pub(super) metric_family_name: String,
    #[prost(string, tag = "4")]
    pub(super) help: String,
    #[prost(string, tag = "5")]
    pub(super) unit: String,
}

/// Reads a message that is not longer than the limits allow.
pub(super) fn decode(
    message: &[u8],
    limits: &Limits,
    visit: impl FnMut(Pushed<'_>),
) -> Result<Outcome, WireError> {
    check(message, &REQUEST, usize::MAX)?;
    let mut delivery = Delivery::new(limits, visit);
    let mut labels = Vec::new();
    for field in fields(message) {
        match field.number {
            1 => series(field.value.bytes(), &mut labels, &mut delivery),
            3 => family(field.value.bytes(), &mut delivery),
            _ => {}
        }
    }
    Ok(delivery.finish())
}

fn series<'a, V>(series: &'a [u8], labels: &mut Vec<Label<'a>>, delivery: &mut Delivery<'_, V>)
where
    V: FnMut(Pushed<'_>),
{
    labels.clear();
    let (mut read, mut n_exemplars, mut n_histograms) = (Ok(()), 0, 0);
    for field in fields(series) {
        match field.number {
            1 if read.is_ok() => read = label(field).and_then(|label| delivery.label(labels, label)),
            3 => n_exemplars += 1,
            4 => n_histograms += 1,
            _ => {}
        }
    }
    delivery.unsupported(n_histograms, n_exemplars);
    // Once all labels are known; they may come after the samples.
    let samples = fields(series).filter(|field| field.number == 2);
    delivery.series(labels, read.map(|()| None), samples.map(sample));
}

fn label(field: Field<'_>) -> Result<Label<'_>, SeriesFault> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in fields(field.value.bytes()) {
        match field.number {
            1 => name = field.value.bytes(),
            2 => value = field.value.bytes(),
            _ => {}
        }
    }
    Ok((text(name)?, text(value)?))
}

fn sample(field: Field<'_>) -> Sample {
    let mut sample = Sample { time_ms: 0, value: 0.0, start_ms: None };
    for field in fields(field.value.bytes()) {
        match field.number {
            1 => sample.value = f64::from_bits(field.value.number()),
            2 => sample.time_ms = field.value.number().cast_signed(),
            _ => {}
        }
    }
    sample
}

/// Families whose texts cannot be read are left out: no number depends on them.
fn family<V: FnMut(Pushed<'_>)>(family: &[u8], delivery: &mut Delivery<'_, V>) {
    let (mut name, mut help, mut unit, mut kind) = (&[][..], &[][..], &[][..], 0);
    for field in fields(family) {
        match field.number {
            1 => kind = field.value.number(),
            2 => name = field.value.bytes(),
            4 => help = field.value.bytes(),
            5 => unit = field.value.bytes(),
            _ => {}
        }
    }
    let (Ok(name), Ok(help), Ok(unit)) = (text(name), text(help), text(unit)) else { return };
    if !name.is_empty() {
        delivery.family(name, Metadata { kind: kind_of(kind), help, unit });
    }
}

/// The kind that a number of `MetricType` stands for, in both versions. What has no classic counterpart promises nothing;
/// info and state sets are gauges of 1 and 0.
pub(super) fn kind_of(number: u64) -> Kind {
    match number {
        1 => Kind::Counter,
        2 | 6 | 7 => Kind::Gauge,
        3 => Kind::Histogram,
        5 => Kind::Summary,
        _ => Kind::Untyped,
    }
}

/// The number of `MetricType` for a kind.
pub(super) fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
        Kind::Untyped => 0,
    }
}

/// Appends a series to a request: protobuf joins what is written one after the other.
pub(super) fn append_series(request: &mut Vec<u8>, series: PushedSeries<'_>) {
    let series = TimeSeries::of(series.labels, series.samples.iter().copied());
    append(request, &WriteRequest { timeseries: vec![series], metadata: Vec::new() });
}

/// Appends what is known of a family.
pub(super) fn append_family(request: &mut Vec<u8>, name: &str, metadata: Metadata<'_>) {
    let metadata = MetricMetadata {
        kind: kind_number(metadata.kind),
        metric_family_name: name.to_owned(),
        help: metadata.help.to_owned(),
        unit: metadata.unit.to_owned(),
    };
    append(request, &WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] });
}

/// A value, if it must be written: 0 needs not be, but -0 does, which prost would leave out.
pub(super) fn present(value: f64) -> Option<f64> {
    (value.to_bits() != 0).then_some(value)
}

/// Appends a message.
pub(crate) fn append(out: &mut Vec<u8>, message: &impl Message) {
    message.encode(out).expect("a Vec grows as needed");
}
