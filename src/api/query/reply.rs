//! Answers and refusals in Prometheus' JSON form.

use std::fmt::Write as _;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fieldpost_model::TimeMs;
use fieldpost_promql::{Answer, Labels, QueryError, Value, format_value};
use serde_json::{Value as Json, json};

/// A good answer, written.
#[derive(Debug)]
pub struct Reply {
    kind: &'static str,
    coding: Option<&'static str>,
    body: Vec<u8>,
}

/// Of most answers.
const JSON: &str = "application/json";

/// A refusal: the status, Prometheus' word for its kind, and what is wrong.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    kind: &'static str,
    what: String,
}

impl Fault {
    /// The question cannot be understood.
    pub fn bad_data(what: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", what: what.into() }
    }

    /// It was broken off.
    pub fn timeout(what: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", what: what.into() }
    }

    /// Not now.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", what: what.into() }
    }

    /// The fault is on this side.
    pub fn internal(what: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", what: what.into() }
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        let what = error.to_string();
        match error {
            QueryError::Parse(_) => Self::bad_data(format!("invalid parameter \"query\": {what}")),
            QueryError::Kind(_) => Self::bad_data(what),
            QueryError::Execution(_) | QueryError::Limit { .. } => {
                Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", what }
            }
            QueryError::Timeout => Self::timeout(what),
            QueryError::Source(_) => {
                tracing::error!(error = what, "a query failed");
                Self::internal(what)
            }
        }
    }
}

impl Fault {
    /// In words only, as pages are refused.
    pub fn plain(self) -> Response {
        (self.status, self.what + "\n").into_response()
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = json!({ "status": "error", "errorType": self.kind, "error": self.what });
        (self.status, [(CONTENT_TYPE, JSON)], body.to_string()).into_response()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut answer = ([(CONTENT_TYPE, self.kind)], self.body).into_response();
        if let Some(coding) = self.coding {
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        answer
    }
}

impl Reply {
    /// Of this media type and coding.
    pub fn new(kind: &'static str, coding: Option<&'static str>, body: Vec<u8>) -> Self {
        Self { kind, coding, body }
    }

    /// What is written.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// JSON that was written by hand.
    pub fn of_text(text: String) -> Self {
        Self::new(JSON, None, text.into_bytes())
    }

    /// These data, and what there is to say about them.
    pub fn of_json(data: &Json, warnings: &[&str]) -> Self {
        let mut text = format!("{{\"status\":\"success\",\"data\":{data}");
        notes(&mut text, "warnings", warnings.iter().copied());
        text.push('}');
        Self::new(JSON, None, text.into_bytes())
    }

    /// The answer to a query.
    pub fn of_answer(answer: &Answer, stats: Option<&Json>) -> Self {
        let mut text = String::from("{\"status\":\"success\",\"data\":{\"resultType\":");
        value(&mut text, &answer.value);
        if let Some(stats) = stats {
            let _ = write!(text, ",\"stats\":{stats}");
        }
        text.push('}');
        notes(&mut text, "warnings", answer.annotations.warnings());
        notes(&mut text, "infos", answer.annotations.infos());
        text.push('}');
        Self::new(JSON, None, text.into_bytes())
    }
}

fn notes<'a>(text: &mut String, name: &str, notes: impl Iterator<Item = &'a str>) {
    let notes: Vec<&str> = notes.collect();
    if !notes.is_empty() {
        let _ = write!(text, ",\"{name}\":{}", json!(notes));
    }
}

fn value(text: &mut String, value: &Value) {
    match value {
        Value::Scalar(time_ms, number) => {
            text.push_str("\"scalar\",\"result\":");
            sample(text, (*time_ms, *number));
        }
        Value::Text(time_ms, words) => {
            text.push_str("\"string\",\"result\":[");
            instant(text, *time_ms);
            let _ = write!(text, ",{}]", json!(words));
        }
        Value::Vector(points) => {
            text.push_str("\"vector\",\"result\":[");
            separated(text, points, |text, point| {
                metric(text, &point.labels);
                text.push_str(",\"value\":");
                sample(text, (point.time_ms, point.value));
                text.push('}');
            });
        }
        Value::Matrix(series) => {
            text.push_str("\"matrix\",\"result\":[");
            separated(text, series, |text, one| {
                metric(text, &one.labels);
                text.push_str(",\"values\":[");
                separated(text, &one.samples, |text, pair| sample(text, *pair));
                text.push('}');
            });
        }
    }
}

/// Items with commas between them, and the bracket that ends them.
fn separated<T>(text: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, item);
    }
    text.push(']');
}

fn metric(text: &mut String, labels: &Labels) {
    text.push_str("{\"metric\":{");
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{}:{}", json!(name), json!(value));
    }
    text.push('}');
}

/// Seconds, with three digits behind the point where they are not whole.
fn instant(text: &mut String, time_ms: TimeMs) {
    let sign = if time_ms < 0 { "-" } else { "" };
    let (seconds, rest) = (time_ms.unsigned_abs() / 1000, time_ms.unsigned_abs() % 1000);
    let _ =
        if rest == 0 { write!(text, "{sign}{seconds}") } else { write!(text, "{sign}{seconds}.{rest:03}") };
}

fn sample(text: &mut String, (time_ms, number): (TimeMs, f64)) {
    text.push('[');
    instant(text, time_ms);
    let _ = write!(text, ",\"{}\"]", format_value(number));
}
