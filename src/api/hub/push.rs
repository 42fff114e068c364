//! What others push: remote write of Prometheus, and OTLP over HTTP. Thin: the hub reads and stores.

use std::io::Read;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fieldpost_formats::Limits;
use fieldpost_formats::otlp::{self, OtlpError, Rejections};
use fieldpost_formats::remote_write::{Version, Written};
use flate2::read::GzDecoder;

use super::Asker;
use crate::api::gate::Principal;
use crate::api::problem::Problem;
use crate::hub::{PushFault, Receipt};

/// The longest request as it comes over the line.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The longest that a sender may take for it.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long a sender shall wait when there is too much to write.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// Remote write, 1.0 and 2.0.
pub async fn write(
    State(hub): super::State,
    Extension(principal): Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let version = match Version::asked(header(CONTENT_TYPE), header(CONTENT_ENCODING)) {
        Ok(version) => version,
        Err(error) => return faulty(&error.into()),
    };
    let pushed = match whole(body).await {
        Ok(block) => hub.push_remote_write(sender(&principal), version, block).await,
        Err(problem) => return problem.into_response(),
    };
    let (written, mut response) = match pushed {
        Ok(receipt) => (receipt.written, answered(&receipt)),
        Err(fault) => (Written::default(), faulty(&fault)),
    };
    if version == Version::V2 {
        let counts = written.headers().map(|(name, n)| (name.parse::<HeaderName>(), HeaderValue::from(n)));
        let named = counts.into_iter().filter_map(|(name, n)| Some((name.ok()?, n)));
        response.headers_mut().extend(named);
    }
    response
}

/// Metrics of OTLP.
pub async fn metrics(
    State(hub): super::State,
    Extension(principal): Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match otlp_message(&headers, body).await {
        Ok(message) => otlp_answer(hub.push_otlp_metrics(sender(&principal), message).await),
        Err(response) => response,
    }
}

/// Logs of OTLP.
pub async fn logs(
    State(hub): super::State,
    Extension(principal): Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match otlp_message(&headers, body).await {
        Ok(message) => otlp_answer(hub.push_otlp_logs(sender(&principal), message).await),
        Err(response) => response,
    }
}

/// Whose pseudo-agent the samples go to. Admins may push too, without a token.
fn sender(principal: &Principal) -> String {
    match principal {
        Principal::Token { id, .. } => id.clone(),
        _ => "admin".to_owned(),
    }
}

fn answered(receipt: &Receipt) -> Response {
    if receipt.refused.is_any() {
        let detail = format!("{} samples written; {}", receipt.written.n_samples, receipt.refused);
        return Problem::new(StatusCode::BAD_REQUEST, "partly_refused", detail).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// What a sender is told when nothing was taken. Too much to write is 503 and not 429, for
/// Prometheus drops samples after a 429 unless it is configured otherwise.
fn faulty(fault: &PushFault) -> Response {
    let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let problem = match fault {
        PushFault::RemoteWrite(error) => {
            Problem::new(status(error.status()), "not_understood", fault.to_string())
        }
        PushFault::Otlp(error) => Problem::new(status(error.status()), "not_understood", fault.to_string()),
        PushFault::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", fault.to_string()),
        PushFault::Failed(error) => Problem::failed(error),
    };
    let mut response = problem.into_response();
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

/// The body, if it is not too long and comes in time.
async fn whole(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_DEADLINE, to_bytes(body, BODY_BYTES_MAX)).await;
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "late", "the request did not come in time");
    let long = |_| {
        let detail = format!("more than {} MiB, or cut off; send it in smaller parts", BODY_BYTES_MAX >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    read.map_err(|_| late())?.map_err(long)
}

/// The message of an OTLP request, out of its compression.
async fn otlp_message(headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    otlp::check_content_type(header(CONTENT_TYPE)).map_err(|error| faulty(&error.into()))?;
    let body = whole(body).await.map_err(IntoResponse::into_response)?;
    match header(CONTENT_ENCODING).unwrap_or("identity") {
        "identity" | "" => Ok(body),
        "gzip" => unzipped(&body).map_err(IntoResponse::into_response),
        other => {
            let detail = format!("Content-Encoding is {other:?}; send gzip or none");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_understood", detail).into_response())
        }
    }
}

fn unzipped(body: &[u8]) -> Result<Bytes, Problem> {
    let max = Limits::default().message_bytes_max;
    let mut message = Vec::new();
    // One byte more than allowed tells that there are too many.
    let read = GzDecoder::new(body).take(max as u64 + 1).read_to_end(&mut message);
    read.map_err(|error| Problem::bad_request(format!("the body is no gzip: {error}")))?;
    if message.len() > max {
        let error = OtlpError::TooLong { n_bytes: message.len(), max };
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", error.to_string()));
    }
    Ok(message.into())
}

fn otlp_answer(taken: Result<Rejections, PushFault>) -> Response {
    match taken {
        Ok(rejections) => ([(CONTENT_TYPE, otlp::CONTENT_TYPE)], rejections.answer()).into_response(),
        Err(fault) => faulty(&fault),
    }
}
