//! The dashboard's files, each compressed once; and the answers by which others see that the hub
//! is well.

use std::collections::HashMap;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::api::{gate, manners};
use crate::ui::{File, ICON, PAGE, SCRIPT, STYLE};

/// Scripts, styles and pictures from here only, and none within the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
);
/// The page names its files with their version: one that is asked for so never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What is asked for without is looked up anew each time; mostly the answer is that it is the same.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// A file as it is sent.
struct Ready {
    tag: HeaderValue,
    packed: Option<Bytes>,
}

fn ready(file: &File) -> Option<&'static Ready> {
    static READY: OnceLock<HashMap<&'static str, Ready>> = OnceLock::new();
    let all = READY.get_or_init(|| {
        let prepare = |file: File| {
            let tag = HeaderValue::try_from(format!("\"{}\"", file.tag())).ok()?;
            Some((file.name, Ready { tag, packed: manners::pack_well(file.bytes) }))
        };
        [PAGE, SCRIPT, STYLE, ICON].into_iter().filter_map(prepare).collect()
    });
    all.get(file.name)
}

fn answer(file: File, uri: &Uri, headers: &HeaderMap) -> Response {
    let Some(ready) = ready(&file) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let is_versioned = uri.query().is_some_and(|query| query.starts_with("v="));
    let mut answer = HeaderMap::new();
    answer.insert(CONTENT_SECURITY_POLICY, POLICY);
    answer.insert(CACHE_CONTROL, if is_versioned { FOR_EVER } else { ASK_AGAIN });
    answer.insert(ETAG, ready.tag.clone());
    answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == ready.tag) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
    let takes = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match ready.packed.as_ref().filter(|_| manners::takes_gzip(takes)) {
        Some(packed) => {
            answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            (answer, Body::from(packed.clone())).into_response()
        }
        None => (answer, Body::from(file.bytes)).into_response(),
    }
}

/// The page, whichever of its views is meant.
pub async fn page(uri: Uri, headers: HeaderMap) -> Response {
    answer(PAGE, &uri, &headers)
}

/// To a person the page, which says that it has no such view; to a program a line that it can read.
pub async fn nowhere(method: Method, uri: Uri, mut headers: HeaderMap) -> Response {
    let wishes = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_person = wishes.contains("text/html") && !uri.path().starts_with("/api/");
    if method != Method::GET || !is_person {
        return gate::nowhere().await.into_response();
    }
    // Nothing of it is kept: there may be something at this address tomorrow.
    headers.remove(IF_NONE_MATCH);
    let page = answer(PAGE, &Uri::from_static("/"), &headers);
    (StatusCode::NOT_FOUND, [(CACHE_CONTROL, "no-store")], page).into_response()
}

/// Its script.
pub async fn script(uri: Uri, headers: HeaderMap) -> Response {
    answer(SCRIPT, &uri, &headers)
}

/// Its style.
pub async fn style(uri: Uri, headers: HeaderMap) -> Response {
    answer(STYLE, &uri, &headers)
}

/// Its icon.
pub async fn icon(uri: Uri, headers: HeaderMap) -> Response {
    answer(ICON, &uri, &headers)
}

/// The hub answers.
pub async fn healthy() -> &'static str {
    "fieldpost hub is healthy\n"
}
