//! Answers of a real Prometheus and our own side by side.

use fieldpost_promql::{Labels, Value};
use serde_json::Value as Json;

/// A text as it stands in an address.
pub fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Series by name, each with its samples as Prometheus writes them.
pub type Series = Vec<(String, Vec<(i64, f64)>)>;

fn number(json: &Json) -> f64 {
    match json.as_str().unwrap_or_default() {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap(),
    }
}

/// The data of an answer of Prometheus' API.
pub fn theirs(data: &Json) -> Series {
    let sample = |pair: &Json| ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, number(&pair[1]));
    let result = &data["result"];
    match data["resultType"].as_str().unwrap() {
        "scalar" => vec![("{}".to_owned(), vec![sample(result)])],
        "string" => vec![(result[1].as_str().unwrap().to_owned(), Vec::new())],
        _ => {
            let series = result.as_array().unwrap().iter().map(|series| {
                let metric = series["metric"].as_object().unwrap();
                let labels =
                    Labels::new(metric.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())));
                let samples = match series.get("values") {
                    Some(values) => values.as_array().unwrap().iter().map(sample).collect(),
                    None => vec![sample(&series["value"])],
                };
                (labels.to_string(), samples)
            });
            series.collect()
        }
    }
}

/// An answer of our own.
pub fn ours(value: &Value) -> Series {
    match value {
        Value::Scalar(at, number) => vec![("{}".to_owned(), vec![(*at, *number)])],
        Value::Text(_, text) => vec![(text.clone(), Vec::new())],
        Value::Vector(points) => points
            .iter()
            .map(|point| (point.labels.to_string(), vec![(point.time_ms, point.value)]))
            .collect(),
        Value::Matrix(all) => all.iter().map(|one| (one.labels.to_string(), one.samples.clone())).collect(),
    }
}

/// How far numbers may lie apart and are still equal: sums are not added up in the same order everywhere.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// Of the greater one.
    pub part: f64,
    /// However great they are.
    pub least: f64,
}

impl Tolerance {
    fn accepts(self, a: f64, b: f64) -> bool {
        let apart = self.part * a.abs().max(b.abs()) + self.least;
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= apart
    }
}

/// The first difference.
pub fn difference(
    mut ours: Series,
    mut theirs: Series,
    is_ordered: bool,
    tolerance: Tolerance,
) -> Option<String> {
    if !is_ordered {
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let names = |series: &Series| series.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ");
    if names(&ours) != names(&theirs) {
        return Some(format!("ours {}\n    theirs {}", names(&ours), names(&theirs)));
    }
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        let same = |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && tolerance.accepts(a.1, b.1);
        if ours.len() != theirs.len() {
            return Some(format!("{name}: {} samples, theirs {}", ours.len(), theirs.len()));
        }
        if let Some(at) = ours.iter().zip(theirs).position(|pair| !same(pair)) {
            return Some(format!("{name}: {:?}, theirs {:?}", ours[at], theirs[at]));
        }
    }
    None
}
