//! Dials agents that must not dial out: stays with those that it may stay with, and visits the
//! others now and then. Once a link is up everything is as on a link that the agent dialled.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_link::{AgentAddress, ClientTls, backoff, chance, connect_agent};
use fieldpost_model::hub_state::Mode;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Hub;
use super::reception::Visit;

/// Agents that are dialled at a time.
const N_DIALS_MAX: usize = 64;
/// How often it is looked which agents are to be polled, if nobody says that it has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that a dial may take, from the first packet to the welcome.
const DIAL_DEADLINE: Duration = Duration::from_secs(15);
/// The longest pause between two dials of an agent that does not answer.
const RECONNECT_MAX: Duration = Duration::from_secs(300);
/// A link that stood this long was a good one: the next pause is a short one again.
const GOOD_LINK: Duration = Duration::from_secs(60);
/// Visits come up to this share of their interval early, so that they spread out.
const JITTER: f64 = 0.1;
/// The longest that visits may take to end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// An agent that is being polled.
struct Polled {
    mode: Mode,
    cancel: CancellationToken,
}

/// Polls all agents that are to be polled, until the end.
pub async fn poll(hub: Arc<Hub>, shutdown: CancellationToken) {
    let (places, visits) = (Arc::new(Semaphore::new(N_DIALS_MAX)), TaskTracker::new());
    let mut polled: HashMap<String, Polled> = HashMap::new();
    loop {
        match wanted(&hub).await {
            Ok(wanted) => {
                polled.retain(|agent_id, known| {
                    let stays = wanted.get(agent_id) == Some(&known.mode);
                    if !stays {
                        known.cancel.cancel();
                    }
                    stays
                });
                for (agent_id, mode) in wanted {
                    polled.entry(agent_id.clone()).or_insert_with(|| {
                        let cancel = shutdown.child_token();
                        let (hub, places) = (Arc::clone(&hub), Arc::clone(&places));
                        visits.spawn(visit_until(hub, places, (agent_id, mode.clone()), cancel.clone()));
                        Polled { mode, cancel }
                    });
                }
            }
            Err(error) => tracing::error!("cannot tell which agents to poll: {error:#}"),
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = hub.polls_changed.notified() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
    visits.close();
    visits.wait().await;
}

/// The agents that are to be polled, and how.
async fn wanted(hub: &Arc<Hub>) -> anyhow::Result<HashMap<String, Mode>> {
    let hub = Arc::clone(hub);
    let agents = tokio::task::spawn_blocking(move || hub.state.agents()).await??;
    let polled = agents.into_iter().filter(|agent| agent.is_trusted() && agent.mode != Mode::Push);
    Ok(polled.map(|agent| (agent.id, agent.mode)).collect())
}

/// Visits one agent again and again until it is not to be polled any more.
async fn visit_until(
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    (agent_id, mode): (String, Mode),
    cancel: CancellationToken,
) {
    let Mode::Poll { address, interval_seconds } = mode else { return };
    let interval = Duration::from_secs(interval_seconds);
    let mut failures: u32 = 0;
    loop {
        let begun = Instant::now();
        let mut visit = pin!(visit(&hub, &places, &agent_id, &address, interval));
        let visited = tokio::select! {
            visited = visit.as_mut() => visited,
            () = cancel.cancelled() => {
                hub.links.cut(&agent_id);
                // A visit that has only begun to dial is dropped.
                drop(timeout(END_DEADLINE, visit).await);
                return;
            }
        };
        if let Err(error) = &visited {
            tell_failed(&agent_id, error, failures);
        }
        failures = failures_after(visited.ok(), interval, failures);
        let pause = pause_after(failures, interval, begun.elapsed());
        tokio::select! {
            () = sleep(pause) => {}
            () = cancel.cancelled() => return,
        }
    }
}

/// One visit; answers how long the link stood.
async fn visit(
    hub: &Arc<Hub>,
    places: &Semaphore,
    agent_id: &str,
    address: &str,
    interval: Duration,
) -> anyhow::Result<Duration> {
    let address: AgentAddress = address.parse()?;
    let place = places.acquire().await?;
    let tls = ClientTls::hub_to_agent(&hub.identity, hub.now_ms())?;
    let dialled = timeout(DIAL_DEADLINE, connect_agent(&address, &tls, agent_id, &hub.face())).await;
    drop(place);
    let link = dialled.with_context(|| format!("{address} does not answer"))??;
    let up = Instant::now();
    let visit = if interval.is_zero() { Visit::Stay } else { Visit::Drain };
    Arc::clone(hub).hold(link, visit).await;
    Ok(up.elapsed())
}

/// Says at the first failure in a row why an agent is not reached, and of the others only to
/// whoever looks closely.
fn tell_failed(agent_id: &str, error: &anyhow::Error, failures: u32) {
    if failures == 0 {
        tracing::warn!(agent_id, "the agent cannot be polled: {error:#}");
    } else {
        tracing::debug!(agent_id, failures, "the agent cannot be polled: {error:#}");
    }
}

/// Failures in a row. A link that was to stay and ended soon is one, too.
fn failures_after(stood: Option<Duration>, interval: Duration, failures: u32) -> u32 {
    match stood {
        Some(_) if !interval.is_zero() => 0,
        Some(stood) if stood >= GOOD_LINK => 1,
        _ => failures.saturating_add(1),
    }
}

fn pause_after(failures: u32, interval: Duration, took: Duration) -> Duration {
    match failures {
        0 => interval.mul_f64(1.0 - JITTER * chance()).saturating_sub(took),
        _ => backoff(failures, RECONNECT_MAX, chance()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_the_interval_after_a_visit_and_grows_after_failures() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(failures_after(Some(Duration::ZERO), minute, 7), 0);
        assert_eq!(failures_after(None, minute, 7), 8);
        assert_eq!(failures_after(Some(hour), Duration::ZERO, 7), 1);
        assert_eq!(failures_after(Some(Duration::ZERO), Duration::ZERO, 7), 8);
        for _ in 0..100 {
            let pause = pause_after(0, hour, minute);
            assert!((hour.mul_f64(0.9) - minute..=hour - minute).contains(&pause), "{pause:?}");
            assert_eq!(pause_after(0, minute, hour), Duration::ZERO);
            assert!(pause_after(1, hour, minute) <= Duration::from_secs(1));
            assert!(pause_after(u32::MAX, minute, minute) <= RECONNECT_MAX);
        }
    }
}
