//! STATUS on both sides: what people say of an agent at the hub and on its own host becomes the same,
//! the newer word counts. The agent keeps it, and so it holds while the hub is away.

use std::sync::Arc;

use anyhow::Context;
use fieldpost_model::hub_state::{Act, Actor, AgentStatus};
use http::StatusCode;
use serde_json::json;

use super::deliver::{DEADLINE, blocking};
use super::{Hub, Link};

const PATH: &str = "/v1/agent/status";
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Makes both the same, unless the hub's word is the one that was dealt with before; answers that one.
pub(super) async fn agree(
    hub: &Arc<Hub>,
    link: &Arc<Link>,
    dealt: Option<AgentStatus>,
) -> anyhow::Result<AgentStatus> {
    let agent_id = link.agent_id.clone();
    let ours = blocking(hub, move |hub| {
        Ok(hub.state.agent(&agent_id)?.context("the agent is not known any more")?.status)
    })
    .await?;
    if dealt.as_ref() == Some(&ours) {
        return Ok(ours);
    }
    let asked = tokio::time::timeout(DEADLINE, link.get(PATH)).await;
    let answer = asked.context("the agent does not answer")??;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(ours);
    }
    let theirs: AgentStatus = answer.into_body().json(ANSWER_BYTES_MAX).await?;
    if (theirs.status, &theirs.comment) == (ours.status, &ours.comment) {
        return Ok(ours);
    }
    // What nobody has said, or what this hub had it say, is no word of its owner.
    let is_owners = !theirs.by.is_empty() && !theirs.by.starts_with("hub ");
    if is_owners && theirs.since_ms > ours.since_ms {
        let agent_id = link.agent_id.clone();
        return blocking(hub, move |hub| {
            let act = Act::new(Actor::Agent(agent_id.clone()), hub.now_ms());
            let comment = Some(theirs.comment.as_str()).filter(|comment| !comment.is_empty());
            Ok(hub.state.set_agent_status(&act, &agent_id, theirs.status, comment)?.status)
        })
        .await;
    }
    let comment = Some(&ours.comment).filter(|comment| !comment.is_empty());
    let told = link.post(PATH, &json!({ "status": ours.status, "comment": comment })).await?;
    // One whose owner lets hubs do nothing keeps its own; the hub's word holds at the hub.
    tracing::debug!(agent = link.agent_id, answer = %told.status(), "the agent was told its status");
    Ok(ours)
}
