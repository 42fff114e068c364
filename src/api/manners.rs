//! What all answers of the hub have in common: headers that keep browsers from mischief, problem
//! documents for whatever is refused, and compression of what is long.

use std::io::Write;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fieldpost_formats::negotiate::Coding;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::problem::Problem;

/// Shorter answers are not worth compressing.
const PACKED_BYTES_MIN: u64 = 1 << 10;
/// Longer ones are not held in memory twice.
const PACKED_BYTES_MAX: u64 = 32 << 20;
/// What zstd is asked for: about as quick as gzip at its quickest, and a good deal smaller.
const ZSTD_LEVEL: i32 = 3;
/// What is compressed: text that is whole. What has no end goes out as it comes.
const PACKED_KINDS: [&str; 4] = ["application/json", "text/html", "text/javascript", "text/css"];
/// As much of what a layer below says about a refusal is kept.
const DETAIL_BYTES_MAX: usize = 4 << 10;

/// What is no page shows nothing and is shown nowhere.
const NO_PAGE: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");

/// On every answer, unless it says otherwise itself.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (CONTENT_SECURITY_POLICY, NO_PAGE),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// Answers with all of it.
pub async fn mind(request: Request, next: Next) -> Response {
    let encodings: Vec<_> =
        request.headers().get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let coding = Coding::negotiate(&encodings.join(","));
    let mut answer = as_problem(next.run(request).await).await;
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(value);
    }
    if is_long_text(&answer) {
        answer.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        if let Some(coding) = coding {
            return compressed(answer, coding).await;
        }
    }
    answer
}

/// Whatever is refused below (a body that is no JSON, a query that cannot be read) is answered with
/// a problem document as well.
async fn as_problem(answer: Response) -> Response {
    let status = answer.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    // Those of other protocols are in the form that these ask for.
    let is_text =
        answer.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_refusal || !is_text {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let text = to_bytes(body, DETAIL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let said: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let detail = if said.is_empty() { "the request is not served".to_owned() } else { said };
    let mut answer = Problem::new(status, code(status), detail).into_response();
    for (name, value) in &parts.headers {
        if !matches!(*name, CONTENT_TYPE | CONTENT_LENGTH) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "bad_request",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "not_json",
        status if status.is_server_error() => "failed",
        _ => "refused",
    }
}

fn is_long_text(answer: &Response) -> bool {
    let length = answer.body().size_hint().exact().unwrap_or(0);
    let kind = answer.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    PACKED_KINDS.iter().any(|known| kind.starts_with(known.as_bytes()))
        && (PACKED_BYTES_MIN..=PACKED_BYTES_MAX).contains(&length)
        && !answer.headers().contains_key(CONTENT_ENCODING)
}

async fn compressed(answer: Response, coding: Coding) -> Response {
    let (mut parts, body) = answer.into_parts();
    let packed = async {
        let plain = to_bytes(body, PACKED_BYTES_MAX as usize).await?;
        // A long answer takes longer than anybody on this thread should wait.
        anyhow::Ok(tokio::task::spawn_blocking(move || pack(&plain, coding)).await??)
    };
    match packed.await {
        Ok(packed) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(packed.len()));
            Response::from_parts(parts, Body::from(packed))
        }
        Err(error) => Problem::failed(&error).into_response(),
    }
}

fn pack(plain: &Bytes, coding: Coding) -> std::io::Result<Vec<u8>> {
    if coding == Coding::Zstd {
        return zstd::bulk::compress(plain, ZSTD_LEVEL);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Does whoever sends this header take gzip?
pub fn takes_gzip(accept_encoding: &str) -> bool {
    let gzip = |one: &str| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        name.trim().eq_ignore_ascii_case("gzip") && quality.trim() != "q=0"
    };
    accept_encoding.split(',').any(gzip)
}

/// Compresses what is compressed once and sent often; none if that fails.
pub fn pack_well(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::best());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
