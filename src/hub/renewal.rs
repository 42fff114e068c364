//! New certificates for agents: begun by the hub over a live link when half of a certificate's
//! life is over. The hub's books take the new one before the agent gets it, and both count until
//! the agent has come in with the new one, so that a crash at any point locks nobody out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_link::PeerCertificate;
use fieldpost_model::{Period, TimeMs};
use serde::Deserialize;
use serde_json::{Value, json};

use super::enrol::certificate_of;
use super::{Hub, Link};

/// How often the certificate of a live link is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);
/// The longest that a renewal may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// After a renewal that did not arrive the next one waits for so long.
const PAUSE: Period = Period::from_secs(3_600);
/// The same for an agent that can do nothing else any more.
const EXPIRED_PAUSE: Period = Period::from_secs(10);

/// An agent's answer: the request for a certificate of its new key.
#[derive(Deserialize)]
struct Asked {
    request: String,
}

/// Cares for the certificate of a live link, as long as the link stands.
pub(super) async fn care(hub: Arc<Hub>, link: Arc<Link>, peer: PeerCertificate) -> Infallible {
    if let Err(error) = tell_seen(&hub, &link, &peer).await {
        tracing::debug!(agent = link.agent_id, "cannot say which certificate was seen: {error:#}");
    }
    // The one that is looked at: the link's, and after a renewal the one that was given last.
    let mut newest = peer.clone();
    loop {
        match renew_if_due(&hub, &link, (&peer, &newest), PAUSE).await {
            Ok(Some(renewed)) => newest = renewed,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(agent = link.agent_id, "its certificate was not renewed: {error:#}");
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Renews the certificate of an agent that may do nothing else any more, and hangs up: it comes in
/// with the new one.
pub(super) async fn renew_expired(hub: Arc<Hub>, came: fieldpost_link::Link) {
    let link = Link::new(&came, hub.now_ms());
    match renew_if_due(&hub, &link, (&came.peer, &came.peer), EXPIRED_PAUSE).await {
        Ok(Some(_)) => tracing::info!(agent = link.agent_id, "its expired certificate was renewed"),
        Ok(None) => tracing::debug!(agent = link.agent_id, "its expired certificate was renewed just now"),
        Err(error) => {
            tracing::warn!(agent = link.agent_id, "its expired certificate was not renewed: {error:#}");
        }
    }
    link.client.hang_up();
}

/// Says which certificate the agent came in with, if it may still hold an older one beside it.
async fn tell_seen(hub: &Arc<Hub>, link: &Link, peer: &PeerCertificate) -> anyhow::Result<()> {
    let (asked, agent_id) = (Arc::clone(hub), link.agent_id.clone());
    let known = tokio::task::spawn_blocking(move || asked.state.agent(&agent_id)).await??;
    if known.is_some_and(|agent| agent.certificates.len() > 1) {
        let seen = json!({ "serial": peer.serial });
        tokio::time::timeout(DEADLINE, link.tell("/v1/identity/seen", &seen)).await??;
    }
    Ok(())
}

/// Renews, if half the life of the newest certificate is over. `used` is the one of the link.
async fn renew_if_due(
    hub: &Arc<Hub>,
    link: &Link,
    (used, newest): (&PeerCertificate, &PeerCertificate),
    pause: Period,
) -> anyhow::Result<Option<PeerCertificate>> {
    if !newest.needs_renewal(hub.now_ms()) || was_renewed_just_now(hub, &link.agent_id, pause).await? {
        return Ok(None);
    }
    let renewal = renew(Arc::clone(hub), link, used.serial.clone());
    let renewed = tokio::time::timeout(DEADLINE, renewal).await.context("the agent takes too long")??;
    tracing::info!(agent = link.agent_id, serial = renewed.serial, "its certificate was renewed");
    Ok(Some(renewed))
}

async fn was_renewed_just_now(hub: &Arc<Hub>, agent_id: &str, pause: Period) -> anyhow::Result<bool> {
    let (asked, agent_id) = (Arc::clone(hub), agent_id.to_owned());
    let known = tokio::task::spawn_blocking(move || asked.state.agent(&agent_id)).await??;
    let newest_ms: Option<TimeMs> =
        known.and_then(|agent| agent.certificates.iter().map(|held| held.issued_ms).max());
    Ok(newest_ms.is_some_and(|issued_ms| (0..pause.as_ms()).contains(&(hub.now_ms() - issued_ms))))
}

async fn renew(hub: Arc<Hub>, link: &Link, used: String) -> anyhow::Result<PeerCertificate> {
    let asked: Asked = link.post_json("/v1/identity/request", &Value::Null).await?;
    let agent_id = link.agent_id.clone();
    let issued = tokio::task::spawn_blocking(move || {
        let act = hub.act();
        let issued = hub.authority.issue_agent(&asked.request, &agent_id, act.now_ms)?;
        hub.state.renew_certificate(&act, &agent_id, &used, &certificate_of(&issued, act.now_ms))?;
        anyhow::Ok(issued)
    });
    let issued = issued.await.context("the renewal broke off")??;
    link.tell("/v1/identity", &json!({ "chain": issued.chain })).await?;
    Ok(issued.certificate)
}
