//! Who comes over a carrier: agents with a certificate, of whom each is admitted or told why not,
//! and hosts that want to join.

use std::sync::Arc;

use bytes::Bytes;
use fieldpost_link::{
    Accepted, Admit, Answering, Hello, HubFace, Io, JoinAnswer, JoinCall, JoinRequest, PeerCertificate,
    Refusal, RefusalCode, accept, upgrade,
};
use fieldpost_model::hub_state::{
    AgentRecord, AuditNote, EnrolRefusal, Enrolment, Fingerprint, Mode, NewAgent,
};
use fieldpost_model::{Period, TimeMs};
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::enrol::certificate_of;
use super::people::token_hash;
use super::{Hub, Link, intake, renewal, runs};

/// An expired certificate may be renewed for this long; after that the host joins anew.
const RENEWABLE: Period = Period::from_secs(365 * 86_400);

/// A copy that tries again and again is noted this often.
const COPIES_NOTED_EVERY: Period = Period::from_secs(3_600);

/// What a host tells when it joins, beside its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinDetails {
    /// The version that it runs.
    pub version: String,
    /// Roles that it would like to have.
    pub roles: fieldpost_model::hub_state::Roles,
    /// Labels that it would like to have.
    pub labels: fieldpost_model::hub_state::Labels,
    /// What jobs its owner allows.
    pub allow_jobs: String,
}

/// What it is told beside its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinedDetails {
    /// The name that it has from now on.
    pub name: String,
    /// Its roles.
    pub roles: fieldpost_model::hub_state::Roles,
    /// Has somebody to approve it first?
    pub waits_for_approval: bool,
    /// The hub's clock.
    pub time_ms: TimeMs,
}

/// How long a link is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// As long as it stands.
    Stay,
    /// Until nothing is missing.
    Drain,
}

impl Hub {
    /// Serves whoever comes over this carrier until they go.
    pub async fn receive(self: Arc<Self>, carrier: impl Io + 'static, address: Option<String>) {
        let face = self.face();
        match accept(carrier, &self.tls, &face).await {
            Ok(Accepted::Link(link)) => self.hold(*link, Visit::Stay).await,
            Ok(Accepted::Join(call)) => self.enrol(call, address).await,
            Err(error) => tracing::info!(address, %error, "nobody came in"),
        }
    }

    /// Answers a request for the link's WebSocket, and serves what comes through it.
    pub fn open_link<B>(
        self: Arc<Self>,
        request: &mut Request<B>,
        address: Option<String>,
    ) -> Response<&'static str> {
        let (answer, opened) = upgrade(request);
        if let Some(opened) = opened {
            tokio::spawn(async move {
                match opened.carrier().await {
                    Ok(carrier) => self.receive(carrier, address).await,
                    Err(error) => tracing::debug!(%error, "a link was asked for and not opened"),
                }
            });
        }
        answer
    }

    pub(super) fn face(self: &Arc<Self>) -> HubFace {
        let hub = Arc::clone(self);
        let admit: Admit = Arc::new(move |peer, hello| hub.admit(peer, hello));
        HubFace::new(&self.hub_id, env!("CARGO_PKG_VERSION"), self.clock(), admit)
    }

    /// May this agent come in?
    fn admit(&self, peer: &PeerCertificate, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |code, text: &str| Err(Refusal::new(code, text));
        let key = Fingerprint(*peer.key_pin.as_bytes());
        let known = self.state.agent_of_key(&key).map_err(|error| {
            tracing::error!(%error, "the hub's state cannot be read");
            Refusal::new(RefusalCode::Busy, "the hub cannot read its state; it is tried again")
        })?;
        let Some(agent) = known else {
            return refuse(
                RefusalCode::UnknownAgent,
                "this hub does not know this host (any more); join it anew",
            );
        };
        if agent.revoked_ms.is_some() {
            return refuse(
                RefusalCode::Revoked,
                "this agent was revoked at the hub; join anew under a new identity",
            );
        }
        if agent.id != peer.id || !agent.certificates.iter().any(|held| held.serial == peer.serial) {
            return refuse(RefusalCode::Revoked, "this certificate was replaced by a newer one; join anew");
        }
        if !agent.approved {
            return refuse(RefusalCode::NotApproved, "somebody at the hub has to approve this host first");
        }
        if self.now_ms() - peer.not_after_ms > RENEWABLE.as_ms() {
            return refuse(RefusalCode::Expired, "this certificate ended over a year ago; join anew");
        }
        self.refuse_clone(&agent, hello)
    }

    /// Two hosts with one identity, as images of one disk make them: the first one stays.
    fn refuse_clone(&self, agent: &AgentRecord, hello: &Hello) -> Result<(), Refusal> {
        let held = self.links.get(&agent.id).filter(|link| !link.client.is_closed());
        if held.is_none_or(|link| link.boot_id == hello.boot_id) {
            return Ok(());
        }
        self.note_copy(agent, hello);
        let text = "another host with this identity is linked already; if this one is a copy of it, remove its \
                    identity and join anew (after a reboot it comes in by itself within 30 s)";
        Err(Refusal::new(RefusalCode::Cloned, text))
    }

    /// Notes that a copy was sent away, but not at each of its tries.
    fn note_copy(&self, agent: &AgentRecord, hello: &Hello) {
        let now_ms = self.now_ms();
        let noted = self.copies_noted.lock().insert(agent.id.clone(), now_ms);
        if noted.is_some_and(|noted_ms| (0..COPIES_NOTED_EVERY.as_ms()).contains(&(now_ms - noted_ms))) {
            return;
        }
        tracing::warn!(agent = agent.name, "a second host with the identity of this agent was sent away");
        let note = AuditNote {
            action: "agent.copy_refused".to_owned(),
            subject: agent.id.clone(),
            detail: json!({ "name": agent.name, "boot_id": hello.boot_id }).to_string(),
        };
        if let Err(error) = self.state.note(&self.act(), &note) {
            tracing::error!(%error, "cannot note in the audit log that a copy was sent away");
        }
    }

    /// Holds a link until it ends, whoever dialled it; on a visit, until everything is here.
    pub(super) async fn hold(self: Arc<Self>, came: fieldpost_link::Link, visit: Visit) {
        let now_ms = self.now_ms();
        let agent_id = came.peer.id.clone();
        self.note_hello(&came, now_ms).await;
        if came.peer.is_expired(now_ms) {
            return renewal::renew_expired(self, came).await;
        }
        let link = self.links.attach(Link::new(&came, now_ms));
        tracing::info!(agent_id, program = came.hello.program, "link up");
        let care = renewal::care(Arc::clone(&self), Arc::clone(&link), came.peer);
        let drawing = self.drawing(&link, visit);
        let jobs = runs::look_after(Arc::clone(&self), Arc::clone(&link), visit);
        let ended = tokio::select! {
            drawn = drawing => match drawn {
                Ok(()) => "the agent has told everything".to_owned(),
                Err(error) => format!("{error:#}"),
            },
            never = care => match never {},
            never = jobs => match never {},
            why = link.client.closed() => why,
            () = link.cancel.cancelled() => "ended by the hub".to_owned(),
        };
        link.client.hang_up();
        self.links.detach(&link);
        tracing::info!(agent_id, reason = ended, "link down");
        self.note_seen(vec![(agent_id, link.heard_ms())]).await;
    }

    async fn drawing(self: &Arc<Self>, link: &Arc<Link>, visit: Visit) -> anyhow::Result<()> {
        let (hub, link) = (Arc::clone(self), Arc::clone(link));
        match visit {
            Visit::Stay => intake::draw(hub, link).await,
            Visit::Drain => {
                intake::drain(Arc::clone(&hub), Arc::clone(&link)).await?;
                runs::visit(&hub, &link).await
            }
        }
    }

    async fn note_hello(&self, came: &fieldpost_link::Link, now_ms: TimeMs) {
        let hello = fieldpost_model::hub_state::Hello {
            agent_id: came.peer.id.clone(),
            boot_id: came.hello.boot_id.clone(),
            spool_id: came.hello.spool_ids.first().cloned().unwrap_or_default(),
            version: came.hello.program.clone(),
            allow_jobs: allowed_jobs(&came.hello.capabilities),
            at_ms: now_ms,
        };
        let state = Arc::clone(&self.state);
        let noted = tokio::task::spawn_blocking(move || state.note_hellos(&[hello])).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(%error, "cannot note that an agent came");
        }
    }

    /// Notes when agents were last heard of.
    pub async fn note_seen(&self, seen: Vec<(String, TimeMs)>) {
        let state = Arc::clone(&self.state);
        let noted = tokio::task::spawn_blocking(move || state.note_seen(&seen)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(%error, "cannot note when agents were heard of");
        }
    }

    async fn enrol(self: Arc<Self>, call: JoinCall, address: Option<String>) {
        let answering: Answering = Arc::new(move |path: String, body: Bytes| {
            let (hub, address) = (Arc::clone(&self), address.clone());
            Box::pin(async move {
                let unknown = || Refusal::new(RefusalCode::Other, format!("nothing is asked at {path}"));
                if path != "/join" {
                    return Err(unknown());
                }
                let done = tokio::task::spawn_blocking(move || hub.join(&body, address)).await;
                done.unwrap_or_else(|_| Err(Refusal::new(RefusalCode::Busy, "the hub could not finish this")))
            })
        });
        if let Err(error) = call.answer(answering).await {
            tracing::debug!(%error, "an enrolment broke off");
        }
    }

    fn join(&self, body: &Bytes, address: Option<String>) -> Result<Value, Refusal> {
        let damaged = |what: &str| Refusal::new(RefusalCode::Other, format!("{what} cannot be read"));
        let request: JoinRequest =
            serde_json::from_slice(body).map_err(|_| damaged("the request to join"))?;
        let details: JoinDetails = serde_json::from_value(request.details).unwrap_or_default();
        let now_ms = self.now_ms();
        let issued = self.authority.issue_agent(&request.request, &request.agent_id, now_ms);
        let issued = issued.map_err(|error| Refusal::new(RefusalCode::Other, error.to_string()))?;
        let enrolment = Enrolment {
            secret: token_hash(&request.token),
            agent: NewAgent {
                id: request.agent_id,
                certificate: certificate_of(&issued, now_ms),
                name: request.name,
                roles: details.roles,
                labels: details.labels,
                version: details.version,
                mode: Mode::Push,
                allow_jobs: details.allow_jobs,
            },
            address,
            now_ms,
        };
        let enrolled = self.state.enrol(&enrolment).map_err(|refused| refusal(&refused))?;
        let agent = enrolled.agent;
        tracing::info!(agent = agent.name, id = agent.id, repeated = enrolled.repeated, "a host joined");
        let details = JoinedDetails {
            name: agent.name,
            roles: agent.roles,
            waits_for_approval: !agent.approved,
            time_ms: now_ms,
        };
        let answer = JoinAnswer {
            chain: issued.chain,
            ca: self.authority.certificate_pem().to_owned(),
            hub_id: self.hub_id.clone(),
            details: serde_json::to_value(details).unwrap_or_default(),
        };
        serde_json::to_value(answer).map_err(|_| damaged("the answer"))
    }
}

pub(super) fn refusal(refused: &EnrolRefusal) -> Refusal {
    let code = match refused {
        EnrolRefusal::KnownAgent(_) | EnrolRefusal::KnownKey(_) => RefusalCode::Cloned,
        EnrolRefusal::RevokedAgent => RefusalCode::Revoked,
        EnrolRefusal::State(_) => RefusalCode::Other,
        _ => RefusalCode::BadToken,
    };
    Refusal::new(code, refused.to_string())
}

/// Agents say what jobs they allow as `jobs=named`.
fn allowed_jobs(capabilities: &[String]) -> String {
    let found = capabilities.iter().find_map(|word| word.strip_prefix("jobs="));
    found.unwrap_or("off").to_owned()
}
