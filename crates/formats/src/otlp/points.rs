//! Points of metrics into series: gauges and sums as they are, histograms and summaries as the series that
//! Prometheus has for them, and one `target_info` for what else is known of a resource.

use std::collections::BTreeMap;

use fieldpost_model::{ABSENT, Kind, TimeMs};

use super::metrics::{
    Data, Histogram, HistogramPoint, MetricMessage, Number, NumberPoint, Sum, Summary, SummaryPoint,
    Temporality,
};
use super::names::{Ending, label_name, metric_name, unit_name};
use super::partial::Rejections;
use super::time_ms;
use super::value::KeyValue;
use crate::delivery::Delivery;
use crate::pushed::{Label, Limits, Metadata, NAME_LABEL, Pushed, Sample, check_size};
use crate::write::label_number;

/// The flag of a point that says that its series has ended.
const NO_RECORDED_VALUE: u32 = 1;
const NO_DELTA: &str = "delta temporality is not supported; have the exporter prefer cumulative";
const NO_TEMPORALITY: &str = "its temporality is not given; send cumulative";

/// What a resource says of its series.
pub(super) struct Target {
    /// `job` and `instance`, where they are known.
    identity: Vec<(String, String)>,
    /// Everything else.
    info: BTreeMap<String, String>,
    /// The newest instant of its points.
    last_ms: Option<TimeMs>,
}

impl Target {
    pub(super) fn new(attributes: &[KeyValue]) -> Self {
        let value = |key: &str| {
            let found = attributes.iter().find(|attribute| attribute.key == key);
            found.map(KeyValue::value_text).unwrap_or_default()
        };
        let job = match (value("service.namespace"), value("service.name")) {
            (namespace, name) if namespace.is_empty() || name.is_empty() => name,
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let identity = [("job", job), ("instance", value("service.instance.id"))];
        let identity = identity.into_iter().filter(|(_, value)| !value.is_empty());
        let identifies =
            |key: &str| matches!(key, "service.namespace" | "service.name" | "service.instance.id");
        Self {
            identity: identity.map(|(name, value)| (name.to_owned(), value)).collect(),
            info: labels(attributes.iter().filter(|attribute| !identifies(&attribute.key))),
            last_ms: None,
        }
    }
}

/// Attributes as labels. Where two become the same label, their values are joined in the order of their keys.
fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|attribute| !attribute.key.is_empty()).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    // Sent twice in spite of the rules, an attribute counts as it came last.
    sorted.dedup_by(|later, first| {
        let same = later.key == first.key;
        if same {
            *first = *later;
        }
        same
    });
    let mut labels = BTreeMap::new();
    for attribute in sorted {
        let value = attribute.value_text();
        match labels.entry(label_name(&attribute.key)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().push(';');
                entry.get_mut().push_str(&value);
            }
        }
    }
    labels
}

/// A family, as its points need it.
struct Family<'a> {
    /// In the words of OpenTelemetry, for reasons.
    told_name: &'a str,
    name: String,
    metadata: Metadata<'a>,
}

/// One request on its way from points to series.
pub(super) struct Translation<'l, V> {
    delivery: Delivery<'l, V>,
    rejections: Rejections,
    received_ms: TimeMs,
}

impl<'l, V: FnMut(Pushed<'_>)> Translation<'l, V> {
    pub(super) fn new(limits: &'l Limits, received_ms: TimeMs, visit: V) -> Self {
        Self { delivery: Delivery::new(limits, visit), rejections: Rejections::default(), received_ms }
    }

    pub(super) fn reject(&mut self, name: &str, n_points: u64, reason: impl std::fmt::Display) {
        self.rejections.add(name, n_points, reason);
    }

    pub(super) fn finish(self) -> Rejections {
        self.rejections
    }

    pub(super) fn metric(&mut self, metric: &MetricMessage, target: &mut Target) {
        let Some(data) = &metric.data else { return };
        let (kind, ending) = match data {
            Data::Gauge(_) => (Kind::Gauge, Ending::Gauge),
            Data::Sum(sum) if sum.is_monotonic => (Kind::Counter, Ending::Counter),
            Data::Sum(_) => (Kind::Gauge, Ending::Other),
            Data::Histogram(_) => (Kind::Histogram, Ending::Other),
            Data::Summary(_) => (Kind::Summary, Ending::Other),
        };
        let Some(name) = metric_name(&metric.name, &metric.unit, ending) else {
            return self.reject(&metric.name, n_points(data), "no letter of its name can be kept");
        };
        let unit = unit_name(&metric.unit);
        let metadata = Metadata { kind, help: &metric.description, unit: &unit };
        let family = Family { told_name: &metric.name, name, metadata };
        match data {
            Data::Gauge(gauge) => self.numbers(&family, &gauge.data_points, target),
            Data::Sum(sum) => self.sum(&family, sum, target),
            Data::Histogram(histogram) => self.histogram(&family, histogram, target),
            Data::Summary(summary) => self.summary(&family, summary, target),
        }
    }

    fn sum(&mut self, family: &Family<'_>, sum: &Sum, target: &mut Target) {
        match not_cumulative(sum.temporality) {
            Some(reason) => self.reject(family.told_name, sum.data_points.len() as u64, reason),
            None => self.numbers(family, &sum.data_points, target),
        }
    }

    fn numbers(&mut self, family: &Family<'_>, points: &[NumberPoint], target: &mut Target) {
        for point in points {
            let value = match point.value {
                _ if point.flags & NO_RECORDED_VALUE != 0 => ABSENT,
                Some(Number::Double(value)) => value,
                Some(Number::Int(value)) => value as f64,
                None => {
                    self.reject(family.told_name, 1, "a point has no value");
                    continue;
                }
            };
            let times = (point.start_time_unix_nano, point.time_unix_nano);
            self.point(family, &point.attributes, times, target, |out| out.series("", None, value));
        }
    }

    fn histogram(&mut self, family: &Family<'_>, histogram: &Histogram, target: &mut Target) {
        if let Some(reason) = not_cumulative(histogram.temporality) {
            return self.reject(family.told_name, histogram.data_points.len() as u64, reason);
        }
        for point in &histogram.data_points {
            let (n_counts, n_bounds) = (point.bucket_counts.len(), point.explicit_bounds.len());
            if n_counts != n_bounds + 1 && n_counts + n_bounds > 0 {
                let reason = format!("a point has {n_counts} buckets for {n_bounds} bounds; send one more");
                self.reject(family.told_name, 1, reason);
                continue;
            }
            let times = (point.start_time_unix_nano, point.time_unix_nano);
            self.point(family, &point.attributes, times, target, |out| buckets(point, out));
        }
    }

    fn summary(&mut self, family: &Family<'_>, summary: &Summary, target: &mut Target) {
        for point in &summary.data_points {
            let times = (point.start_time_unix_nano, point.time_unix_nano);
            self.point(family, &point.attributes, times, target, |out| quantiles(point, out));
        }
    }

    /// Hands on the series of one point. If any of them is refused, the point counts as rejected.
    fn point(
        &mut self,
        family: &Family<'_>,
        attributes: &[KeyValue],
        (start_nano, time_nano): (u64, u64),
        target: &mut Target,
        series: impl FnOnce(&mut PointSeries<'_, '_, 'l, V>),
    ) {
        let mut labels = labels(attributes.iter());
        labels.extend(target.identity.iter().cloned());
        // Once for all series of the point, which may be very many.
        let n_bytes = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if let Err(fault) = check_size(labels.len(), n_bytes, self.delivery.limits()) {
            return self.reject(family.told_name, 1, fault);
        }
        let time_ms = time_ms(time_nano, self.received_ms);
        let start_ms = i64::try_from(start_nano / 1_000_000).ok().filter(|start_ms| *start_ms != 0);
        let sample = Sample { time_ms, value: 0.0, start_ms };
        let mut out = PointSeries { family, labels: &labels, sample, delivery: &mut self.delivery };
        series(&mut out);
        match self.delivery.take_refusal() {
            Some(fault) => self.reject(family.told_name, 1, fault),
            None => target.last_ms = target.last_ms.max(Some(time_ms)),
        }
    }

    /// Ends a resource: says what else is known of it, if anything is and it has a name and points.
    pub(super) fn target_info(&mut self, target: &Target) {
        let Some(time_ms) = target.last_ms.filter(|_| !target.identity.is_empty() && !target.info.is_empty())
        else {
            return;
        };
        let mut labels = target.info.clone();
        labels.extend(target.identity.iter().cloned());
        let metadata = Metadata { kind: Kind::Gauge, help: "Target metadata.", unit: "" };
        let family = Family { told_name: "target_info", name: "target_info".into(), metadata };
        let sample = Sample { time_ms, value: 0.0, start_ms: None };
        let delivery = &mut self.delivery;
        PointSeries { family: &family, labels: &labels, sample, delivery }.series("", None, 1.0);
        if let Some(fault) = self.delivery.take_refusal() {
            self.reject("target_info", 0, fault);
        }
    }
}

/// The series of one point on their way out.
struct PointSeries<'p, 'd, 'l, V> {
    family: &'p Family<'p>,
    labels: &'p BTreeMap<String, String>,
    /// Its instants; values come one by one.
    sample: Sample,
    delivery: &'d mut Delivery<'l, V>,
}

impl<V: FnMut(Pushed<'_>)> PointSeries<'_, '_, '_, V> {
    /// One series: the family's name with a suffix, and a label of its own that goes before one of the point. After
    /// a refusal the rest of the point is not tried.
    fn series(&mut self, suffix: &str, own: Option<Label<'_>>, value: f64) {
        if self.delivery.has_refusal() {
            return;
        }
        let name = format!("{}{suffix}", self.family.name);
        let own_labels = [(NAME_LABEL, &*name), own.unwrap_or_default()];
        let own_labels = &own_labels[..1 + usize::from(own.is_some())];
        let is_own = |name: &str| own_labels.iter().any(|(own, _)| *own == name);
        let others = self.labels.iter().map(|(name, value)| (&**name, &**value));
        let mut labels: Vec<Label<'_>> = others.filter(|(name, _)| !is_own(name)).collect();
        labels.extend_from_slice(own_labels);
        labels.sort_unstable();
        let sample = Sample { value, ..self.sample };
        self.delivery.series(&mut labels, Ok(Some(self.family.metadata)), std::iter::once(sample));
    }
}

fn buckets<V: FnMut(Pushed<'_>)>(point: &HistogramPoint, out: &mut PointSeries<'_, '_, '_, V>) {
    let ended = point.flags & NO_RECORDED_VALUE != 0;
    let number = |count: u64| if ended { ABSENT } else { count as f64 };
    let mut sum_of_counts = 0u64;
    for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
        // Prometheus' last bucket is the count of all.
        if *bound == f64::INFINITY {
            break;
        }
        sum_of_counts = sum_of_counts.saturating_add(*count);
        out.series("_bucket", Some(("le", &label_number(*bound))), number(sum_of_counts));
    }
    out.series("_bucket", Some(("le", "+Inf")), number(point.count));
    if let Some(sum) = point.sum {
        out.series("_sum", None, if ended { ABSENT } else { sum });
    }
    out.series("_count", None, number(point.count));
}

fn quantiles<V: FnMut(Pushed<'_>)>(point: &SummaryPoint, out: &mut PointSeries<'_, '_, '_, V>) {
    let ended = point.flags & NO_RECORDED_VALUE != 0;
    let number = |value: f64| if ended { ABSENT } else { value };
    for quantile in &point.quantile_values {
        let bound = label_number(quantile.quantile);
        out.series("", Some(("quantile", &bound)), number(quantile.value));
    }
    out.series("_sum", None, number(point.sum));
    out.series("_count", None, number(point.count as f64));
}

fn not_cumulative(temporality: i32) -> Option<&'static str> {
    match Temporality::try_from(temporality) {
        Ok(Temporality::Cumulative) => None,
        Ok(Temporality::Delta) => Some(NO_DELTA),
        Ok(Temporality::Unspecified) | Err(_) => Some(NO_TEMPORALITY),
    }
}

fn n_points(data: &Data) -> u64 {
    let n_points = match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    };
    n_points as u64
}
