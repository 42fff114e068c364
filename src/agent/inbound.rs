//! Links that hubs dial: the agent listens with the identities that it has of its hubs, and, while
//! it has an open invitation, with the one of that. Which hubs are there is counted here.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fieldpost_link::{
    Answering, BodyError, Handler, Hello, Listening, MakeHandler, PeerCertificate, Refusal, RefusalCode,
    ServerTls, Settings,
};
use fieldpost_model::TimeMs;
use parking_lot::Mutex;

use super::ceiling::Ceiling;
use super::clock::Clock;
use super::identities::Identities;
use super::invitation::Invitations;
use super::uplinks::{ServeHub, Uplinks};

/// The hubs that are there by dialling, with their links and since when.
#[derive(Default)]
pub struct Inbound {
    live: Mutex<HashMap<String, Live>>,
}

struct Live {
    n_links: usize,
    since_ms: TimeMs,
}

impl Inbound {
    /// Since when a hub is there; none if it is not.
    pub fn since_ms(&self, hub_id: &str) -> Option<TimeMs> {
        self.live.lock().get(hub_id).map(|live| live.since_ms)
    }

    /// All that are there.
    pub fn hub_ids(&self) -> Vec<String> {
        self.live.lock().keys().cloned().collect()
    }

    /// Counts a link for as long as the answer lives.
    fn enter(self: &Arc<Self>, hub_id: String, now_ms: TimeMs) -> Present {
        let mut live = self.live.lock();
        live.entry(hub_id.clone()).or_insert(Live { n_links: 0, since_ms: now_ms }).n_links += 1;
        Present { inbound: Arc::clone(self), hub_id }
    }
}

/// A hub that is there, until this is dropped.
struct Present {
    inbound: Arc<Inbound>,
    hub_id: String,
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut live = self.inbound.live.lock();
        if let Some(entry) = live.get_mut(&self.hub_id) {
            entry.n_links -= 1;
            if entry.n_links == 0 {
                live.remove(&self.hub_id);
            }
        }
    }
}

/// What an agent that listens is made of.
pub struct Doorway {
    /// What it shows.
    pub identities: Arc<Identities>,
    /// What else it shows while a hub is invited.
    pub invitations: Arc<Invitations>,
    /// Who is there.
    pub inbound: Arc<Inbound>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// What hubs may do here.
    pub ceiling: Arc<Ceiling>,
    /// What it serves to a hub.
    pub serve_hub: ServeHub,
}

impl Doorway {
    /// What the link needs for it.
    pub fn listening(
        self,
        hello: Arc<dyn Fn(&PeerCertificate) -> Hello + Send + Sync>,
        uplinks: std::sync::Weak<Uplinks>,
    ) -> Listening {
        let (identities, invitations) = (Arc::clone(&self.identities), Arc::clone(&self.invitations));
        let clock = Arc::clone(&self.clock);
        let tls = move || {
            let now_ms = clock.wall_ms();
            ServerTls::agent(&identities.next_of_all(), invitations.face(now_ms).as_ref(), now_ms)
        };
        Listening {
            tls: Arc::new(tls),
            hello,
            settings: Settings::default(),
            traffic: Arc::default(),
            enrol: self.enrolling(uplinks),
            make_handler: self.make_handler(),
        }
    }

    /// Each hub gets what is its own. Which one it is says the authority that certified it, not
    /// the name that it gives itself.
    fn make_handler(self) -> MakeHandler {
        let Self { identities, inbound, clock, ceiling, serve_hub, .. } = self;
        Arc::new(move |peer: &PeerCertificate, _| {
            let Some(hub_id) = peer.authority.and_then(|authority| identities.hub_of(&authority)) else {
                return sent_away("this agent has left the hub");
            };
            let granted = identities.granted(&hub_id);
            let (ceiling, allowed) = (Arc::clone(&ceiling), ceiling.jobs(granted));
            let present = inbound.enter(hub_id.clone(), clock.wall_ms());
            let (serve, identities) = (serve_hub(&hub_id), Arc::clone(&identities));
            let handler: Handler = Arc::new(move |request| {
                if !identities.belongs_to(&present.hub_id) {
                    return sent_away("this agent has left the hub")(request);
                }
                // The next link tells what the hub may do now.
                if ceiling.jobs(granted) != allowed {
                    return sent_away("what this host allows has changed; dial again")(request);
                }
                serve(request)
            });
            handler
        })
    }

    /// Answers hubs that come by an invitation.
    fn enrolling(&self, uplinks: std::sync::Weak<Uplinks>) -> Answering {
        let (invitations, clock) = (Arc::clone(&self.invitations), Arc::clone(&self.clock));
        Arc::new(move |path: String, body: Bytes| {
            let (invitations, now_ms) = (Arc::clone(&invitations), clock.wall_ms());
            let (uplinks, runtime) = (uplinks.clone(), tokio::runtime::Handle::current());
            let answer = tokio::task::spawn_blocking(move || {
                let _inside = runtime.enter();
                let answer = invitations.answer(&path, &body, now_ms)?;
                if let Some(uplinks) = uplinks.upgrade().filter(|_| path == "/adopt")
                    && let Err(error) = uplinks.refresh()
                {
                    tracing::error!("the new hub is not known before the next start: {error:#}");
                }
                Ok(answer)
            });
            let broke = |_| Err(Refusal::new(RefusalCode::Busy, "the agent could not finish this"));
            Box::pin(async move { answer.await.unwrap_or_else(broke) })
        })
    }
}

/// Ends a link, with this reason, at the next question.
fn sent_away(reason: &'static str) -> Handler {
    Arc::new(move |_| Box::pin(async move { Err(BodyError::new(reason)) }))
}
