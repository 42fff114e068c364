//! Windows as requests. A window always becomes the same requests in the same order, whoever asks and
//! whenever, so that one which is sent again has nothing in it that its receiver lacks a part of.

use std::collections::BTreeMap;

use fieldpost_formats::otlp::{Metric, MetricKind, MetricsEncoder, Point};
use fieldpost_formats::pushed::Label;
use fieldpost_formats::remote_write::{Encoder, Version};
use fieldpost_formats::{Limits, Metadata, PushedSeries, Sample};
use fieldpost_model::{Kind, is_absent};
use fieldpost_store::codec::IdGroup;

use super::reading::{Meanings, Series};

/// Samples of one request, about.
const REQUEST_SAMPLES: usize = 20_000;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    RemoteWrite(Version),
    Otlp,
}

/// A request that is ready.
pub(super) struct Request {
    pub(super) body: Vec<u8>,
    pub(super) n_samples: u64,
}

/// A series with its samples in one window.
struct Column<'a> {
    series: &'a Series,
    samples: Vec<Sample>,
}

/// The requests that a window becomes; none where nothing of it is chosen.
pub(super) fn requests(dialect: Dialect, groups: &[IdGroup], meanings: &Meanings) -> Vec<Request> {
    let (mut requests, mut columns, mut n_samples) = (Vec::new(), Vec::new(), 0);
    for group in groups {
        for (position, id) in group.ids.iter().enumerate() {
            let Some(series) = meanings.get(id) else { continue };
            let all = group.times_ms.iter().zip(group.column(position));
            let present = all.filter(|(_, value)| !is_absent(**value));
            let samples: Vec<Sample> = present
                .map(|(time_ms, value)| Sample { time_ms: *time_ms, value: *value, start_ms: None })
                .collect();
            if samples.is_empty() {
                continue;
            }
            n_samples += samples.len();
            columns.push(Column { series, samples });
            if n_samples >= REQUEST_SAMPLES {
                requests.push(request(dialect, &columns));
                columns.clear();
                n_samples = 0;
            }
        }
    }
    if !columns.is_empty() {
        requests.push(request(dialect, &columns));
    }
    requests
}

fn request(dialect: Dialect, columns: &[Column<'_>]) -> Request {
    let n_samples = columns.iter().map(|column| column.samples.len() as u64).sum();
    let body = match dialect {
        Dialect::RemoteWrite(version) => remote_write(version, columns),
        Dialect::Otlp => otlp(columns),
    };
    Request { body, n_samples }
}

fn borrowed(series: &Series) -> Vec<Label<'_>> {
    series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn remote_write(version: Version, columns: &[Column<'_>]) -> Vec<u8> {
    // What is in the store is sent whole: its receiver has limits of its own.
    let limits = Limits { labels_max: usize::MAX, label_bytes_max: usize::MAX, ..Limits::default() };
    let mut encoder = Encoder::new(version, limits);
    for column in columns {
        let metadata = Metadata { kind: column.series.kind, help: &column.series.help, unit: "" };
        let labels = borrowed(column.series);
        let series = PushedSeries { labels: &labels, metadata: Some(metadata), samples: &column.samples };
        if let Err(fault) = encoder.push(series) {
            tracing::warn!(%fault, "a series cannot be sent by remote write");
        }
    }
    encoder.finish().unwrap_or_else(|error| {
        // A request of bounded samples is far from what snappy cannot take.
        tracing::error!(%error, "a request cannot be compressed");
        Vec::new()
    })
}

fn otlp(columns: &[Column<'_>]) -> Vec<u8> {
    let is_identity = |name: &str| matches!(name, "__name__" | "job" | "instance");
    let of = |series: &Series, label: &str| {
        let found = series.labels.iter().find(|(name, _)| name == label);
        found.map_or_else(String::new, |(_, value)| value.clone())
    };
    // One request is about one resource: series of one host, but for those that say otherwise.
    let Some(first) = columns.first() else { return Vec::new() };
    let (job, instance) = (of(first.series, "job"), of(first.series, "instance"));
    let resource = [("service.name", job.as_str()), ("service.instance.id", instance.as_str())];
    let mut encoder = MetricsEncoder::new(&resource, "fieldpost", env!("CARGO_PKG_VERSION"));
    let attributes: Vec<Vec<Label<'_>>> = columns
        .iter()
        .map(|column| {
            let same = of(column.series, "job") == job && of(column.series, "instance") == instance;
            let labels = borrowed(column.series).into_iter();
            labels.filter(|(name, _)| *name != "__name__" && !(same && is_identity(name))).collect()
        })
        .collect();
    let mut metrics: BTreeMap<String, (&Series, Vec<Point<'_>>)> = BTreeMap::new();
    for (column, attributes) in columns.iter().zip(&attributes) {
        let (_, points) = metrics.entry(of(column.series, "__name__")).or_insert((column.series, Vec::new()));
        points.extend(column.samples.iter().map(|sample| Point { attributes, sample: *sample }));
    }
    for (name, (series, points)) in &metrics {
        let kind = if series.kind == Kind::Counter { MetricKind::Counter } else { MetricKind::Gauge };
        encoder.push(Metric { name, description: &series.help, unit: "", kind, points });
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldpost_formats::{Pushed, otlp, remote_write};
    use fieldpost_model::ABSENT;

    use super::*;

    fn meanings() -> Meanings {
        let series = |name: &str, kind| {
            let labels = [("instance", "web1"), ("job", "host"), ("cpu", "0"), ("__name__", name)];
            let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            Arc::new(Series { labels, kind, help: "H.".to_owned() })
        };
        [(1, series("a_total", Kind::Counter)), (2, series("b", Kind::Gauge))].into()
    }

    fn groups() -> Vec<IdGroup> {
        let values = vec![1.0, 2.0, 3.0, ABSENT, 9.0, 9.0];
        vec![IdGroup { times_ms: vec![1_000, 2_000], ids: vec![1, 2, 3], values }]
    }

    fn told(pushed: &Pushed<'_>) -> Option<String> {
        let Pushed::Series(series) = pushed else { return None };
        let samples: Vec<_> = series.samples.iter().map(|sample| (sample.time_ms, sample.value)).collect();
        Some(format!("{:?} {samples:?}", series.labels))
    }

    #[test]
    fn chosen_series_of_a_window_come_back_from_each_dialect() {
        let wanted = [
            "[(\"__name__\", \"a_total\"), (\"cpu\", \"0\"), (\"instance\", \"web1\"), (\"job\", \"host\")] \
             [(1000, 1.0), (2000, 2.0)]",
            "[(\"__name__\", \"b\"), (\"cpu\", \"0\"), (\"instance\", \"web1\"), (\"job\", \"host\")] [(1000, 3.0)]",
        ];
        for version in [Version::V1, Version::V2] {
            let requests = requests(Dialect::RemoteWrite(version), &groups(), &meanings());
            assert_eq!((requests.len(), requests[0].n_samples), (1, 3));
            let (mut message, mut found) = (Vec::new(), Vec::new());
            let limits = Limits::default();
            remote_write::decompress(&requests[0].body, &limits, &mut message).unwrap();
            remote_write::decode(version, &message, &limits, |pushed| found.extend(told(&pushed))).unwrap();
            assert_eq!(found, wanted);
        }
        let requests = requests(Dialect::Otlp, &groups(), &meanings());
        let mut found = String::new();
        let mut visit = |pushed: Pushed<'_>| found.extend(told(&pushed));
        otlp::decode_metrics(&requests[0].body, &Limits::default(), 0, &mut visit).unwrap();
        for part in ["\"a_total\"", "\"b\"", "(\"job\", \"host\")", "(\"instance\", \"web1\")", "(1000, 3.0)"]
        {
            assert!(found.contains(part), "{part} in {found}");
        }
    }

    #[test]
    fn long_windows_become_several_requests_always_the_same() {
        let times_ms: Vec<i64> = (0..15_000).collect();
        let values = vec![0.5; 2 * times_ms.len()];
        let groups = vec![IdGroup { times_ms, ids: vec![1, 2], values }];
        let counts = |dialect| -> Vec<u64> {
            requests(dialect, &groups, &meanings()).iter().map(|request| request.n_samples).collect()
        };
        assert_eq!(counts(Dialect::Otlp), [30_000]);
        assert_eq!(counts(Dialect::RemoteWrite(Version::V1)), counts(Dialect::RemoteWrite(Version::V2)));
        assert!(requests(Dialect::Otlp, &groups, &Meanings::new()).is_empty());
    }
}
