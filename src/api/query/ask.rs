//! What is asked, of the address and of a form: parameters in Prometheus' own words.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use chrono::DateTime;
use fieldpost_model::TimeMs;
use fieldpost_promql::parse_duration;

use super::Fault;

/// Instants and spans are shorter than this: sums of several stay within 64 bits of milliseconds.
const SECONDS_MAX: f64 = 1e12;

/// Names and values of all parameters.
#[derive(Debug, Default)]
pub struct Ask(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Ask {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let mut all = parameters(request.uri())?;
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|error| Fault::bad_data(format!("the form cannot be read: {error}")))?;
            let form = std::str::from_utf8(&body).unwrap_or_default();
            // A form is written as what stands behind the `?` of an address.
            let address: Uri = format!("/?{form}")
                .parse()
                .map_err(|error| Fault::bad_data(format!("the form cannot be read: {error}")))?;
            all.extend(parameters(&address)?);
        }
        Ok(Self(all))
    }
}

fn parameters(address: &Uri) -> Result<Vec<(String, String)>, Fault> {
    let read = Query::<Vec<(String, String)>>::try_from_uri(address);
    read.map(|Query(all)| all).map_err(|error| Fault::bad_data(error.to_string()))
}

impl Ask {
    /// The first value of a parameter; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// An instant: seconds since 1970, or a date by RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<TimeMs>, Fault> {
        let Some(text) = self.given(name) else { return Ok(None) };
        instant(text).map(Some).ok_or_else(|| {
            let what = format!("Invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
            Fault::bad_data(format!("invalid parameter {name:?}: {what}"))
        })
    }

    /// An instant that has to be given.
    pub fn required_time(&self, name: &str) -> Result<TimeMs, Fault> {
        let text = self.text(name);
        instant(text).ok_or_else(|| wrong(name, text, "a valid timestamp"))
    }

    /// A span, milliseconds: seconds, or a duration as PromQL writes it.
    pub fn span(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.given(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < SECONDS_MAX);
        let ms = seconds.map(|seconds| (seconds * 1000.0).round() as i64).or_else(|| parse_duration(text));
        ms.map(Some).ok_or_else(|| wrong(name, text, "a valid duration"))
    }

    /// A span that has to be given.
    pub fn required_span(&self, name: &str) -> Result<i64, Fault> {
        self.span(name)?.ok_or_else(|| wrong(name, "", "a valid duration"))
    }

    /// `limit`: at most so many; 0 and nothing are no limit.
    pub fn limit(&self) -> Result<Option<usize>, Fault> {
        let Some(text) = self.given("limit") else { return Ok(None) };
        let limit: usize = text.parse().map_err(|_| {
            Fault::bad_data("invalid parameter \"limit\": limit must be a non-negative number")
        })?;
        Ok(Some(limit).filter(|limit| *limit > 0))
    }
}

fn instant(text: &str) -> Option<TimeMs> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < SECONDS_MAX);
    let ms = seconds.map(|seconds| (seconds * 1000.0).round() as TimeMs);
    ms.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|date| date.timestamp_millis()))
}

fn wrong(name: &str, text: &str, wanted: &str) -> Fault {
    Fault::bad_data(format!("invalid parameter {name:?}: cannot parse {text:?} to {wanted}"))
}
