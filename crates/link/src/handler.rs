//! What an agent serves on its links: one function from request to answer, whatever it was made
//! from.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::service::Service;

use crate::body::{Body, BodyError};

/// An answer in the making.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BodyError>> + Send>>;

/// Answers requests. An error ends the request's stream, not the link.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// A handler from a service of hyper's; one of tower's goes into `TowerToHyperService` first.
pub fn handler<S, B>(service: S) -> Handler
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Arc::new(move |request| {
        let answer = service.call(request);
        Box::pin(async move {
            let response = answer.await.map_err(BodyError::new)?;
            Ok(response.map(|body| body.map_err(BodyError::new).boxed_unsync()))
        })
    })
}
