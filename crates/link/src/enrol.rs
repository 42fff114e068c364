//! Enrolment: how a host and a hub that share one secret word come to know each other for good.
//! Inside of TLS whose server is known by a pin, the client, who has no certificate yet, asks a
//! few small questions over HTTP/1 and gets JSON, or a refusal in words.
//!
//! ```text
//! the host dials the hub:   POST /join    token, request for a certificate  ->  certificate
//! the hub dials the host:   POST /invite  token                             ->  request
//!                           POST /adopt   token, certificate                ->  {}
//! ```

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::Io;
use crate::address::{AgentAddress, HubUrl};
use crate::carrier::{dial_hub, within};
use crate::error::LinkError;
use crate::handshake::{Refusal, RefusalCode};
use crate::join::{Invitation, JoinString};
use crate::session::reason;
use crate::tls::ClientTls;
use crate::token::Token;
use crate::{BoxIo, socket};

/// The longest question and the longest answer.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// The longest that one enrolment may take, from the handshake to the last answer.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The longest that a client may take to send the head of a question.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// A host asks to be taken in: `POST /join`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Lets it in, once.
    pub token: Token,
    /// Request for a certificate (PKCS#10, PEM).
    pub request: String,
    /// Random id that the agent gave itself.
    pub agent_id: String,
    /// Name that it would like to have.
    pub name: String,
    /// Whatever else the agent tells.
    #[serde(default)]
    pub details: Value,
}

/// A hub takes a host in. Also what `POST /adopt` brings, with the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The certificate (PEM).
    pub chain: String,
    /// The certificate of the authority (PEM).
    pub ca: String,
    /// Id of the hub.
    pub hub_id: String,
    /// Whatever else the hub tells.
    #[serde(default)]
    pub details: Value,
}

/// A hub comes with an invitation: `POST /invite`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summons {
    /// Lets it in.
    pub token: Token,
    /// Id of the hub.
    pub hub_id: String,
    /// The certificate of its authority (PEM).
    pub ca: String,
    /// Whatever else the hub tells.
    #[serde(default)]
    pub details: Value,
}

/// The invited host introduces itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// Request for a certificate (PKCS#10, PEM).
    pub request: String,
    /// Its random id.
    pub agent_id: String,
    /// Its name.
    pub name: String,
    /// Whatever else it tells.
    #[serde(default)]
    pub details: Value,
}

/// The hub brings the certificate: `POST /adopt`. The host burns the token when it has stored it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Adoption {
    /// The same token again.
    pub token: Token,
    /// What `/join` would have answered.
    pub answer: JoinAnswer,
}

/// Joins a hub: tries its addresses in turn until one of them is the hub. A refusal is final.
pub async fn join_hub(word: &JoinString, request: &JoinRequest) -> Result<(JoinAnswer, HubUrl), LinkError> {
    let mut why = LinkError::Closed("the join string has no address".to_owned());
    for url in &word.urls {
        match join_at(url, word, request).await {
            Ok(answer) => return Ok((answer, url.clone())),
            Err(LinkError::Refused(refusal)) => return Err(LinkError::Refused(refusal)),
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn join_at(url: &HubUrl, word: &JoinString, request: &JoinRequest) -> Result<JoinAnswer, LinkError> {
    let carrier = dial_hub(url).await?;
    let tls = ClientTls::join(&word.pin)?;
    let (_, stream) = within("TLS handshake", tls.connect(carrier)).await?;
    Call::open(stream).await?.ask("/join", request).await
}

/// Takes in the agent of an invitation. `issue` makes the certificate that it asks for, between
/// the two questions.
pub async fn adopt_agent(
    word: &Invitation,
    summons: &Summons,
    issue: impl FnOnce(&Invited) -> Result<JoinAnswer, LinkError>,
) -> Result<(Invited, AgentAddress), LinkError> {
    let (mut call, address) = reach(word).await?;
    let invited: Invited = call.ask("/invite", summons).await?;
    let adoption = Adoption { token: word.token.clone(), answer: issue(&invited)? };
    let _: Value = call.ask("/adopt", &adoption).await?;
    Ok((invited, address))
}

async fn reach(word: &Invitation) -> Result<(Call, AgentAddress), LinkError> {
    let tls = ClientTls::invited(&word.pin)?;
    let mut why = LinkError::Closed("the invitation has no address".to_owned());
    for address in &word.addresses {
        let reached = async {
            let stream = socket::connect(address.host(), address.port()).await?;
            let (_, stream) = within("TLS handshake", tls.connect(stream)).await?;
            Call::open(stream).await
        };
        match reached.await {
            Ok(call) => return Ok((call, address.clone())),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The asking end of an enrolment.
pub struct Call {
    sender: SendRequest<Full<Bytes>>,
}

impl Call {
    pub(crate) async fn open(io: impl Io + 'static) -> Result<Self, LinkError> {
        let io: BoxIo = Box::new(io);
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MESSAGE_BYTES_MAX)
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(async move {
            // Why it ended is told to whoever asks.
            drop(timeout(CALL_DEADLINE, connection).await);
        });
        Ok(Self { sender })
    }

    /// Asks one question.
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<T, LinkError> {
        let body = serde_json::to_vec(question).map_err(|_| LinkError::Message("question"))?;
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(LinkError::TooLong(MESSAGE_BYTES_MAX));
        }
        let request = Request::post(path).header(http::header::HOST, "hub").body(Full::from(body));
        let request = request.map_err(|_| LinkError::Message("question"))?;
        let asked = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok((status, collect(response.into_body()).await?))
        };
        let late = LinkError::TooLate { what: "answer", after: CALL_DEADLINE };
        let (status, bytes) = timeout(CALL_DEADLINE, asked).await.unwrap_or(Err(late)).map_err(unwrapped)?;
        understood(status, &bytes)
    }
}

/// Errors of TLS hide inside of those of HTTP.
fn unwrapped(error: LinkError) -> LinkError {
    use std::error::Error as _;
    let LinkError::Http(http) = error else { return error };
    let io = http.source().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    let tls = io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => LinkError::broken(std::io::Error::other(tls.clone()), "enrolling"),
        None => LinkError::Http(http),
    }
}

fn understood<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, LinkError> {
    if status == StatusCode::OK {
        return serde_json::from_slice(bytes).map_err(|_| LinkError::Message("answer"));
    }
    match serde_json::from_slice::<Refusal>(bytes) {
        Ok(refusal) => Err(LinkError::Refused(refusal)),
        Err(_) => Err(LinkError::Status {
            status: status.as_u16(),
            text: String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(200).collect(),
        }),
    }
}

async fn collect(body: Incoming) -> Result<Bytes, LinkError> {
    match Limited::new(body, MESSAGE_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(LinkError::Http(*error)),
            Err(_) => Err(LinkError::TooLong(MESSAGE_BYTES_MAX)),
        },
    }
}

/// Answers path and body of one question with JSON, or refuses.
pub type Answering =
    Arc<dyn Fn(String, Bytes) -> Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send>> + Send + Sync>;

/// The answering end: serves the questions of one enrolment. The handler is what checks the
/// token, first of all.
pub async fn serve_call(io: impl Io + 'static, answering: Answering) -> Result<(), LinkError> {
    let io: BoxIo = Box::new(io);
    let service = service_fn(move |request| answer(request, Arc::clone(&answering)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MESSAGE_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let late = LinkError::TooLate { what: "end of the enrolment", after: CALL_DEADLINE };
    match timeout(CALL_DEADLINE, connection).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unwrapped(LinkError::Http(error))),
        Err(_) => Err(late),
    }
}

async fn answer(
    request: Request<Incoming>,
    answering: Answering,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST {
        return Ok(said(StatusCode::METHOD_NOT_ALLOWED, &Value::from("hosts join here, with POST")));
    }
    let path = request.uri().path().to_owned();
    let answered = match collect(request.into_body()).await {
        Ok(body) => answering(path, body).await,
        Err(error) => Err(Refusal::new(RefusalCode::Other, reason(&error))),
    };
    Ok(match answered {
        Ok(value) => said(StatusCode::OK, &value),
        Err(refusal) => said(StatusCode::FORBIDDEN, &refusal),
    })
}

fn said(status: StatusCode, what: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(what).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}
