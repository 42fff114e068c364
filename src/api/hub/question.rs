//! The one door to agents: what people ask of an agent, over its link. It holds the limits: how many
//! questions at a time, how long an answer may take and how long it may be; and says plainly why there
//! is no answer. Who may ask is settled by the gate before, what an agent tells by its owner's ceiling.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use fieldpost_model::format_span;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use tokio::time::{Instant, timeout, timeout_at};

use super::blocking;
use crate::api::problem::Problem;
use crate::hub::{Hub, Link, LinkState, Place};

/// The longest that an agent may take until its answer begins.
const DEADLINE: Duration = Duration::from_secs(15);
/// And until its answer is whole.
const WHOLE_DEADLINE: Duration = Duration::from_secs(60);
/// The longest answer, bytes: a table of 30 000 processes is shorter.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The link of the agent of this name or id.
pub async fn link_of(hub: &Arc<Hub>, agent: &str) -> Result<Arc<Link>, Problem> {
    let agent = agent.to_owned();
    blocking(Arc::clone(hub), move |hub| {
        let found = hub.state.agent(&agent)?.ok_or_else(|| super::agents::unknown(&agent))?;
        link(hub, &found.id)
    })
    .await
}

/// The link of the agent of this id, or why there is none. May wait for the disk.
pub fn link(hub: &Hub, agent_id: &str) -> Result<Arc<Link>, Problem> {
    hub.links.get(agent_id).map(Ok).unwrap_or_else(|| {
        let found = hub.agent(agent_id)?;
        let name = found.as_ref().map_or("it", |agent| agent.name.as_str());
        let ago = |since_ms: i64| {
            format_span(Duration::from_millis(hub.now_ms().saturating_sub(since_ms).max(0).unsigned_abs()))
        };
        let why = match found.as_ref().map(|agent| agent.link) {
            Some(LinkState::Between { since_ms }) => {
                format!("{name} is visited now and then, the last time {} ago", ago(since_ms))
            }
            Some(
                LinkState::Down { since_ms } | LinkState::Late { since_ms } | LinkState::Up { since_ms },
            ) => {
                format!("there is no link to {name}, it was last heard of {} ago", ago(since_ms))
            }
            Some(LinkState::Never) => format!("{name} was never here"),
            None => "its agent was forgotten".to_owned(),
        };
        let detail = format!("{why}; only the agent itself knows this: ask again when it is back");
        Err(Problem::new(StatusCode::BAD_GATEWAY, "no_link", detail))
    })
}

/// Waits for the beginning of an answer.
pub async fn in_time<T>(asked: impl Future<Output = anyhow::Result<T>>) -> Result<T, Problem> {
    let late =
        |_| Problem::new(StatusCode::GATEWAY_TIMEOUT, "late", "the agent did not answer in time; try again");
    timeout(DEADLINE, asked).await.map_err(late)?.map_err(|error| {
        let detail = format!("the link to the agent failed: {error:#}");
        Problem::new(StatusCode::BAD_GATEWAY, "link_failed", detail)
    })
}

/// Puts a question to an agent: `path` is of its own API. The answer is the agent's, within the limits.
pub async fn ask(hub: &Arc<Hub>, link: &Link, path: &str) -> Result<Response, Problem> {
    let place = hub.questions.take(&link.agent_id).ok_or_else(|| {
        let detail = "too many questions are put to this agent, or to all of them; try again";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_questions", detail)
            .retry_after(Duration::from_secs(1))
    })?;
    let whole = Instant::now() + WHOLE_DEADLINE;
    let (parts, body) = in_time(async { Ok(link.get(path).await?) }).await?.into_parts();
    let length: Option<u64> =
        parts.headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
    if length.is_some_and(|length| length > ANSWER_BYTES_MAX) {
        let detail = format!("the answer is larger than {} MiB; ask for less", ANSWER_BYTES_MAX >> 20);
        return Err(Problem::new(StatusCode::BAD_GATEWAY, "too_large", detail));
    }
    let mut answer = Response::new(bounded(Body::new(body), whole, place));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = told(parts.headers);
    Ok(answer)
}

/// What is passed on of the head of an answer: an agent does not speak to browsers in the hub's name.
fn told(headers: HeaderMap) -> HeaderMap {
    let is_told = |name: &http::HeaderName| *name == CONTENT_TYPE || *name == CONTENT_LENGTH;
    headers.into_iter().filter_map(|(name, value)| Some((name.filter(is_told)?, value))).collect()
}

/// An answer that breaks off where it is longer, or takes longer, than it may.
fn bounded(body: Body, whole: Instant, place: Place) -> Body {
    let start = (body.into_data_stream(), 0u64, place);
    Body::from_stream(stream::try_unfold(start, move |(mut body, n_bytes, place)| async move {
        let next = timeout_at(whole, body.next()).await?;
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        let n_bytes = n_bytes + bytes.len() as u64;
        anyhow::ensure!(n_bytes <= ANSWER_BYTES_MAX, "the answer is longer than {ANSWER_BYTES_MAX} bytes");
        Ok::<Option<(Bytes, _)>, anyhow::Error>(Some((bytes, (body, n_bytes, place))))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Places;

    #[tokio::test]
    async fn answer_breaks_off_that_is_too_long_or_takes_too_long() {
        let places = Places::new(1, 1);
        let whole = || Instant::now() + WHOLE_DEADLINE;
        let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20]));
        let read = async |body: Body| axum::body::to_bytes(body, usize::MAX).await.map(|bytes| bytes.len());
        let some = Body::from_stream(stream::iter((0..64).map(move |_| chunk())));
        let place = places.take("a").unwrap();
        assert_eq!(read(bounded(some, whole(), place)).await.ok(), Some(64 << 20));
        let more = Body::from_stream(stream::iter((0..65).map(move |_| chunk())));
        let place = places.take("a").unwrap();
        assert!(read(bounded(more, whole(), place)).await.is_err());
        let endless = Body::from_stream(stream::iter([chunk()]).chain(stream::pending()));
        let place = places.take("a").unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(read(bounded(endless, soon, place)).await.is_err());
        assert!(places.take("a").is_some(), "a place is free again when its answer is over");
    }
}
