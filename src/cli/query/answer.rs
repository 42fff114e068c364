//! An answer of Prometheus' HTTP API, read.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value as Json;

/// A series' labels, the name among them.
pub type Metric = BTreeMap<String, String>;

/// What was answered.
pub enum Answer {
    /// Values, and what there is to say about them.
    Given(Outcome, Vec<String>),
    /// None, and why.
    Refused(String),
}

/// Values by their kind.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A number or a text.
    Single(f64, String),
    /// Instant and value of each series.
    Vector(Vec<(Metric, (f64, f64))>),
    /// Instants and values of each series.
    Matrix(Vec<(Metric, Vec<(f64, f64)>)>),
}

impl Outcome {
    /// Is there no value in it?
    pub fn is_empty(&self) -> bool {
        match self {
            Outcome::Single(..) => false,
            Outcome::Vector(series) => series.is_empty(),
            Outcome::Matrix(series) => series.is_empty(),
        }
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    status: Json,
    data: Option<Data>,
    error: Option<String>,
    /// What refusals of other kinds have.
    detail: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Json,
}

#[derive(Deserialize)]
struct Point {
    metric: Metric,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Line {
    metric: Metric,
    values: Vec<(f64, String)>,
}

/// Reads it.
pub fn read(body: &[u8]) -> anyhow::Result<Answer> {
    let unread = || format!("the answer is none of Prometheus' API: {}", beginning(body));
    let body: Body = serde_json::from_slice(body).with_context(unread)?;
    let Some(data) = body.data.filter(|_| body.status == "success") else {
        let what = body.error.or(body.detail).unwrap_or_else(|| "it was refused without a reason".to_owned());
        return Ok(Answer::Refused(what));
    };
    let outcome = match data.result_type.as_str() {
        "vector" => {
            let points: Vec<Point> = serde_json::from_value(data.result).with_context(unread)?;
            let point = |point: Point| (point.metric, (point.value.0, number(&point.value.1)));
            Outcome::Vector(points.into_iter().map(point).collect())
        }
        "matrix" => {
            let lines: Vec<Line> = serde_json::from_value(data.result).with_context(unread)?;
            let values = |line: &Line| line.values.iter().map(|(at, text)| (*at, number(text))).collect();
            Outcome::Matrix(lines.into_iter().map(|line| (line.metric.clone(), values(&line))).collect())
        }
        _ => {
            let (at, text): (f64, String) = serde_json::from_value(data.result).with_context(unread)?;
            Outcome::Single(at, text)
        }
    };
    let warnings = body.warnings.into_iter().map(|text| format!("warning: {text}"));
    let infos = body.infos.into_iter().map(|text| format!("info: {text}"));
    Ok(Answer::Given(outcome, warnings.chain(infos).collect()))
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap_or(f64::NAN),
    }
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}
