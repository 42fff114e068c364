//! Writes requests of metrics: gauges and counters, for a sender of our own.

use fieldpost_model::TimeMs;
use prost::Message;

use super::metrics::{
    Data, Gauge, MetricMessage, Number, NumberPoint, Request, ResourceMetrics, Scope, ScopeMetrics, Sum,
    Temporality,
};
use super::value::{KeyValue, Resource};
use crate::pushed::{Label, Sample};

/// Nanoseconds of a millisecond.
const NANOSECONDS: u64 = 1_000_000;

/// What a metric's points are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Numbers that go up and down.
    Gauge,
    /// Sums since a start, that only grow.
    Counter,
}

/// A metric with its points, in the words of OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric<'a> {
    /// `system.cpu.time`.
    pub name: &'a str,
    /// One sentence for people.
    pub description: &'a str,
    /// In UCUM: `s`, `By`, `{operation}`, `1`.
    pub unit: &'a str,
    /// What its points are.
    pub kind: MetricKind,
    /// In any order.
    pub points: &'a [Point<'a>],
}

/// A number with what tells it from others of its metric. `fieldpost_model::ABSENT` says that its series has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<'a> {
    /// Names and values.
    pub attributes: &'a [Label<'a>],
    /// The number and its instant; for counters the start too.
    pub sample: Sample,
}

/// A request that is being written, for one resource; after `finish` the next one begins.
pub struct MetricsEncoder {
    resource: Resource,
    scope: Scope,
    /// Metrics, as they will stand in the one `ScopeMetrics`.
    metrics: Vec<u8>,
    n_points: u64,
}

impl MetricsEncoder {
    /// For requests about one resource (`service.name`, `host.name`, ...), made by the program of this name and version.
    pub fn new(resource: &[Label<'_>], program: &str, version: &str) -> Self {
        let attributes = resource.iter().map(|(key, value)| KeyValue::text(key, value)).collect();
        let scope = Scope { name: program.to_owned(), version: version.to_owned() };
        Self { resource: Resource { attributes }, scope, metrics: Vec::new(), n_points: 0 }
    }

    /// Adds a metric with its points.
    pub fn push(&mut self, metric: Metric<'_>) {
        let data_points: Vec<NumberPoint> = metric.points.iter().map(number_point).collect();
        self.n_points += data_points.len() as u64;
        let data = match metric.kind {
            MetricKind::Gauge => Data::Gauge(Gauge { data_points }),
            MetricKind::Counter => Data::Sum(Sum {
                data_points,
                temporality: Temporality::Cumulative.into(),
                is_monotonic: true,
            }),
        };
        let message = MetricMessage {
            name: metric.name.to_owned(),
            description: metric.description.to_owned(),
            unit: metric.unit.to_owned(),
            data: Some(data),
        };
        // Protobuf joins what is written one after the other.
        self.metrics.extend(ScopeMetrics { scope: None, metrics: vec![message] }.encode_to_vec());
    }

    /// Points of the request so far.
    pub fn n_points(&self) -> u64 {
        self.n_points
    }

    /// Length of the metrics so far, bytes.
    pub fn n_bytes(&self) -> usize {
        self.metrics.len()
    }

    /// The body of the request, not compressed. The next one begins.
    pub fn finish(&mut self) -> Vec<u8> {
        self.n_points = 0;
        let mut scope = ScopeMetrics { scope: Some(self.scope.clone()), metrics: Vec::new() }.encode_to_vec();
        scope.append(&mut self.metrics);
        let resource = ResourceMetrics { resource: Some(self.resource.clone()), scope_metrics: vec![scope] };
        Request { resource_metrics: vec![resource] }.encode_to_vec()
    }
}

fn number_point(point: &Point<'_>) -> NumberPoint {
    let ended = fieldpost_model::is_absent(point.sample.value);
    NumberPoint {
        attributes: point.attributes.iter().map(|(key, value)| KeyValue::text(key, value)).collect(),
        start_time_unix_nano: point.sample.start_ms.map_or(0, nanoseconds),
        time_unix_nano: nanoseconds(point.sample.time_ms),
        value: (!ended).then_some(Number::Double(point.sample.value)),
        flags: u32::from(ended),
    }
}

/// Nanoseconds since 1970; instants before it become 0, which means unknown.
fn nanoseconds(time_ms: TimeMs) -> u64 {
    u64::try_from(time_ms).unwrap_or(0).saturating_mul(NANOSECONDS)
}
