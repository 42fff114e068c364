//! Brings orders to their agents over the link, each until its agent has it on its disk. An order is
//! written down as sent before it is sent, and the agent knows an order that it had before: so it runs
//! at most once, whatever is cut off or killed in between, and it is never forgotten.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::hub_state::{Order, OrderState, Ordered};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::targets::{bars, rests};
use super::{Hub, Link, jobs, standing};

/// The longest that an agent may take to answer an order.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// Pause after an order could not be brought; doubled each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Even if nobody tells of any, it is looked for orders this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Orders that are brought to one agent at a time.
const N_LANES_MAX: usize = 16;
/// As much of an answer is read.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Brings orders for as long as the link stands.
pub(super) async fn deliver(hub: Arc<Hub>, link: Arc<Link>) -> Infallible {
    let mut pause = PAUSE_MIN;
    let (mut told, mut agreed) = (None, None);
    loop {
        let done = async {
            // First, for an agent that is not online takes no orders.
            agreed = Some(standing::agree(&hub, &link, agreed.take()).await?);
            deliver_all(&hub, &link).await?;
            told = Some(jobs::tell(&hub, &link, told.take()).await?);
            anyhow::Ok(())
        };
        let wait = match done.await {
            Ok(()) => {
                pause = PAUSE_MIN;
                LOOK_EVERY
            }
            Err(error) => {
                tracing::debug!(agent = link.agent_id, "an order is brought again: {error:#}");
                let wait = pause;
                pause = (pause * 2).min(PAUSE_MAX);
                wait
            }
        };
        drop(tokio::time::timeout(wait, link.orders.notified()).await);
    }
}

/// Brings what there is, and what comes meanwhile: orders that have nothing to do with each other side by
/// side, so many at a time. The first fault is answered; it holds up only what has to come after it.
pub(super) async fn deliver_all(hub: &Arc<Hub>, link: &Arc<Link>) -> anyhow::Result<()> {
    let (mut under_way, mut taken) = (JoinSet::new(), HashSet::new());
    let (mut waiting, mut fault, mut was_told) = (VecDeque::new(), None, false);
    let (mut look, mut is_some_held) = (true, false);
    loop {
        if std::mem::take(&mut look) {
            let agent_id = link.agent_id.clone();
            let orders = blocking(hub, move |hub| Ok(hub.state.orders_for(&agent_id)?)).await?;
            let (held, free): (Vec<_>, Vec<_>) =
                lanes(orders).into_iter().partition(|(key, _)| taken.contains(key));
            (waiting, is_some_held) = (free.into(), !held.is_empty());
        }
        while under_way.len() < N_LANES_MAX
            && let Some((key, lane)) = waiting.pop_front()
        {
            let (hub, link) = (Arc::clone(hub), Arc::clone(link));
            taken.insert(key.clone());
            under_way.spawn(async move { (key, deliver_lane(&hub, &link, lane).await) });
        }
        tokio::select! {
            done = under_way.join_next() => match done.transpose()? {
                None => break,
                Some((key, Ok(()))) => {
                    taken.remove(&key);
                    look = is_some_held;
                }
                // Its lane rests until the next time.
                Some((_, Err(error))) => drop(fault.get_or_insert(error)),
            },
            () = link.orders.notified() => (look, was_told) = (true, true),
        }
    }
    if was_told {
        // It may have been for somebody else, too.
        link.orders.notify_one();
    }
    fault.map_or(Ok(()), Err)
}

/// Orders by what they have to do with each other: those of a lane come one after the other.
fn lanes(orders: Vec<Order>) -> Vec<(String, Vec<Order>)> {
    let mut lanes: Vec<(String, Vec<Order>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for order in orders {
        let key = lane_key(&order);
        let place = *places.entry(key.clone()).or_insert(lanes.len());
        match lanes.get_mut(place) {
            Some((_, lane)) => lane.push(order),
            None => lanes.push((key, vec![order])),
        }
    }
    lanes
}

/// Orders of one queue or of one job have an order among themselves; others have none.
fn lane_key(order: &Order) -> String {
    match &order.ordered {
        Ordered::Job(job) => match (&job.queue, job.name.as_str()) {
            (Some(queue), _) => format!("queue {}", queue.name),
            (None, "") => format!("run {}", order.id),
            (None, name) => format!("job {name}"),
        },
        // Which of the host's own jobs share a queue only the host knows.
        Ordered::Named { .. } => "named".to_owned(),
    }
}

async fn deliver_lane(hub: &Arc<Hub>, link: &Arc<Link>, orders: Vec<Order>) -> anyhow::Result<()> {
    for order in orders {
        match order.state {
            OrderState::Delivered => end(hub, link, &order).await?,
            OrderState::Sent => bring(hub, link, order).await?,
            _ => {
                let agent_id = link.agent_id.clone();
                let claimed = blocking(hub, move |hub| claim(hub, &agent_id, order)).await?;
                if let Some(order) = claimed {
                    bring(hub, link, order).await?;
                }
            }
        }
    }
    Ok(())
}

/// The order, if it goes to this agent now; written down as sent.
fn claim(hub: &Hub, agent_id: &str, order: Order) -> anyhow::Result<Option<Order>> {
    let now_ms = hub.now_ms();
    let agent = hub.state.agent(agent_id)?.context("the agent is not known any more")?;
    let is_meant = order.agent.is_some() || order.target.misfit(&agent).is_none();
    let is_free = order.agent.is_some() || bars(&agent, order.ordered.needs()).is_none();
    if order.expires_ms < now_ms || rests(&agent).is_some() || !is_meant || !is_free {
        return Ok(None);
    }
    let is_claimed = hub.state.claim_order(&order.id, agent_id, now_ms)?;
    Ok(is_claimed.then(|| Order { agent: Some(agent_id.to_owned()), state: OrderState::Sent, ..order }))
}

/// What an agent says about why it does not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
    detail: String,
}

async fn bring(hub: &Arc<Hub>, link: &Arc<Link>, order: Order) -> anyhow::Result<()> {
    let secrets = match order.sealed.is_empty() {
        true => Default::default(),
        false => match hub.seal.unseal(&order.id, &order.sealed) {
            Ok(secrets) => secrets,
            Err(error) => return settle(hub, &order.id, OrderState::Refused, format!("{error:#}")).await,
        },
    };
    let request = json!({
        "id": order.id,
        "ordered": order.ordered,
        "secrets": secrets,
        "by": order.by,
        "expires_ms": order.expires_ms,
    });
    let asked = tokio::time::timeout(DEADLINE, link.post("/v1/orders", &request)).await;
    let answer = asked.context("the agent does not answer")??;
    let status = answer.status();
    let body = answer.into_body().collect(ANSWER_BYTES_MAX).await?;
    if status.is_success() {
        return settle(hub, &order.id, OrderState::Delivered, String::new()).await;
    }
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    match (status, refusal.code.as_str()) {
        (StatusCode::CONFLICT, "run_exists") => {
            settle(hub, &order.id, OrderState::Delivered, String::new()).await
        }
        (StatusCode::NOT_FOUND, "") => {
            let text = "this agent is of a version that takes no orders; upgrade it".to_owned();
            settle(hub, &order.id, OrderState::Refused, text).await
        }
        // Its owner has it take nothing new at this moment: the order waits.
        (StatusCode::CONFLICT, "not_online") => anyhow::bail!("{}", refusal.detail),
        (status, _) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            settle(hub, &order.id, OrderState::Refused, refusal.detail).await
        }
        _ => anyhow::bail!("the agent answers {status}: {}", refusal.detail),
    }
}

async fn settle(hub: &Arc<Hub>, id: &str, state: OrderState, reason: String) -> anyhow::Result<()> {
    let id = id.to_owned();
    // Somebody may have asked for its end while it was on its way.
    let ended = blocking(hub, move |hub| {
        hub.settle(&hub.act(), &id, state, &reason)?;
        let order = hub.state.order(&id)?;
        Ok(order.filter(|order| order.state == OrderState::Delivered && order.killed_by.is_some()))
    });
    if let Some(agent_id) = ended.await?.and_then(|order| order.agent) {
        hub.tell_of_orders(&agent_id);
    }
    Ok(())
}

/// Ends a run that somebody wanted ended before the agent was known to have it.
async fn end(hub: &Arc<Hub>, link: &Arc<Link>, order: &Order) -> anyhow::Result<()> {
    let path = format!("/v1/runs/{}/kill", order.id);
    let asked = tokio::time::timeout(DEADLINE, link.post(&path, &json!({}))).await;
    let status = asked.context("the agent does not answer")??.status();
    if status.is_server_error() {
        anyhow::bail!("the agent answers {status}");
    }
    let id = order.id.clone();
    blocking(hub, move |hub| Ok(hub.state.wish_order_killed(&hub.act(), &id, None)?)).await
}

/// Does what may wait for the disk on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    hub: &Arc<Hub>,
    work: impl FnOnce(&Hub) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let hub = Arc::clone(hub);
    tokio::task::spawn_blocking(move || work(&hub)).await.unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use fieldpost_model::hub_state::Target;
    use fieldpost_model::job::{Job, Queue};

    use super::*;

    fn order(id: &str, ordered: Ordered) -> Order {
        Order {
            id: id.to_owned(),
            batch: String::new(),
            agent: None,
            target: Target::default(),
            ordered,
            sealed: Vec::new(),
            by: String::new(),
            created_ms: 0,
            expires_ms: 0,
            state: OrderState::Waiting,
            reason: String::new(),
            changed_ms: 0,
            killed_by: None,
        }
    }

    #[test]
    fn only_what_belongs_together_waits_for_each_other() {
        let job = |name: &str, queue: Option<&str>| {
            let queue = queue.map(|name| Queue { name: name.to_owned(), width: 1, priority: 0 });
            Ordered::Job(Box::new(Job { name: name.to_owned(), queue, ..Job::default() }))
        };
        let named =
            |name: &str| Ordered::Named { name: name.to_owned(), stdin: None, params: Default::default() };
        let orders = vec![
            order("1", job("", None)),
            order("2", job("a", Some("q"))),
            order("3", job("b", None)),
            order("4", job("", None)),
            order("5", job("c", Some("q"))),
            order("6", job("b", None)),
            order("7", named("b")),
            order("8", named("d")),
        ];
        let lanes = lanes(orders);
        let ids: Vec<Vec<&str>> =
            lanes.iter().map(|(_, lane)| lane.iter().map(|order| order.id.as_str()).collect()).collect();
        assert_eq!(ids, [vec!["1"], vec!["2", "5"], vec!["3", "6"], vec!["4"], vec!["7", "8"]]);
    }
}
