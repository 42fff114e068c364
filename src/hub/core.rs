//! The hub's handle: its state, its store, its links, and what it is known by.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_link::{Authority, HubUrl, Identity, OuterTls, Pin, ServerTls, outer_server};
use fieldpost_model::TimeMs;
use fieldpost_model::hub_record::RecordWriter;
use fieldpost_model::hub_runs::HubRuns;
use fieldpost_model::hub_state::{Act, Actor, HubState};
use fieldpost_store::hub::{AgentLabels, HubReader, HubStore};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::Labels;
use super::agents::Coverage;
use super::attempts::Attempts;
use super::keys;
use super::links::Links;
use super::live::Live;
use super::people::nobodys_password;
use super::places::Places;
use super::presence::Described;
use super::pushed::{self, Pushed};
use super::targets::Misfit;
use crate::seal::Seal;

/// Answers without an end in all, and those of one user, token or local user.
const N_STREAMS: usize = 256;
const N_STREAMS_EACH: usize = 16;
/// Questions that are put to agents at a time in all, and to one of them.
const N_QUESTIONS: usize = 64;
const N_QUESTIONS_EACH: usize = 8;

/// What tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// How the hub behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// A link over which nothing came for longer than this is late.
    pub late_after: Duration,
    /// Agents not heard of for longer than this leave the list; their data stay.
    pub forget_after: Duration,
    /// Where agents reach the hub, the best address first.
    pub urls: Vec<HubUrl>,
    /// By which labels series name their agent.
    pub labels: Labels,
    /// Series that an agent may describe on its live lane.
    pub live_series_max: usize,
    /// What is kept, as its config says.
    pub keeps: Keeps,
}

/// How long what is kept, milliseconds, and the most bytes that it may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Keeps {
    /// Samples as they were taken.
    pub raw_ms: u64,
    /// Rollups to minutes.
    pub rollup_1m_ms: u64,
    /// Rollups to hours.
    pub rollup_1h_ms: u64,
    /// What happened to agents.
    pub events_ms: u64,
    /// Runs that are over.
    pub runs_ms: u64,
    /// Runs at most, the newest.
    pub runs_max: u64,
    /// Of the data folder.
    pub quota_bytes: u64,
    /// What is left free for others.
    pub min_free_bytes: u64,
}

/// The labels of an agent's series. One that was forgotten goes by its id. What others pushed says
/// itself whose it is.
fn labels_of(state: Arc<dyn HubState>, labels: Labels) -> AgentLabels {
    Arc::new(move |agent_id| {
        if pushed::is_pseudo(agent_id) {
            return Vec::new();
        }
        let known = state.agent_name(agent_id).unwrap_or_default();
        let name = known.unwrap_or_else(|| agent_id.to_owned());
        let instance = labels.instance_of(&name, agent_id);
        vec![("instance".to_owned(), instance), ("job".to_owned(), labels.job.clone())]
    })
}

/// The hub.
pub struct Hub {
    /// Agents, tokens, users, audit.
    pub state: Arc<dyn HubState>,
    /// What agents have sent.
    pub store: Arc<dyn RecordWriter>,
    /// The runs of all agents.
    pub runs: Arc<dyn HubRuns>,
    /// Told when runs have changed.
    pub(super) runs_changed: watch::Sender<u64>,
    /// Told when there may be results to take.
    pub(super) results_came: watch::Sender<u64>,
    pub(super) seal: Seal,
    /// Jobs of the hub that an agent does not take, by agent: name and why.
    pub(super) job_faults: Mutex<HashMap<String, Vec<(String, Misfit)>>>,
    /// Reads what they have sent.
    pub reader: HubReader,
    /// By which labels the series of an agent name it.
    pub(super) agent_labels: AgentLabels,
    /// The links that are up.
    pub links: Links,
    /// The newest ticks of agents that somebody watches.
    pub live: Live,
    /// Places for answers that have no end, by who asks.
    pub places: Places,
    /// Places for questions to agents, by agent.
    pub questions: Places,
    /// How it behaves.
    pub options: HubOptions,
    /// Its random id.
    pub hub_id: String,
    pub(super) authority: Authority,
    pub(super) tls: ServerTls,
    pub(super) identity: Identity,
    clock: Clock,
    /// Told when the agents that are polled may be others.
    pub(super) polls_changed: Notify,
    /// When it was last noted that a copy of an agent was sent away, by agent.
    pub(super) copies_noted: Mutex<HashMap<String, TimeMs>>,
    pub(super) pushed: Pushed,
    /// What is wrong with the targets of scrape jobs, by job.
    pub(super) scrape_faults: Mutex<BTreeMap<String, Vec<String>>>,
    pub(super) fleet: super::fleet::Kept,
    pub(super) kept_answers: super::live_runs::KeptAnswers,
    /// What was said of each agent, as labels, when it was last said.
    pub(super) described: Mutex<HashMap<String, Vec<Described>>>,
    pub(super) coverages: Mutex<HashMap<String, (TimeMs, Coverage)>>,
    /// Passwords are hashed one at a time: each takes 19 MiB.
    pub(super) hashing: Mutex<()>,
    pub(super) attempts: Attempts,
    /// When sessions and API tokens were last used, by id; those that count only.
    pub(super) used: Mutex<HashMap<String, TimeMs>>,
    pub(super) nobodys_password: String,
}

impl Hub {
    /// A hub over this state and store, with its keys in this folder; they are made if there are
    /// none yet.
    pub fn new(
        state: Arc<dyn HubState>,
        (store, runs): (Arc<HubStore>, Arc<dyn HubRuns>),
        keys_folder: &Path,
        options: HubOptions,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let hub_id = state.hub_id()?;
        let (authority, identity) = keys::load_or_make(keys_folder, &hub_id, clock())
            .with_context(|| format!("cannot use the hub's keys in {}", keys_folder.display()))?;
        let tls = ServerTls::hub(&identity).context("the hub's certificate cannot be used")?;
        let agent_labels = labels_of(Arc::clone(&state), options.labels.clone());
        let reader = HubReader::open(store.folder(), Arc::clone(&agent_labels))
            .context("cannot read the hub's store")?;
        let store: Arc<dyn RecordWriter> = store;
        let pushed = Pushed::new(Arc::clone(&store), clock());
        Ok(Self {
            state,
            store,
            runs,
            runs_changed: watch::Sender::new(0),
            results_came: watch::Sender::new(0),
            job_faults: Mutex::default(),
            seal: Seal::open(keys_folder).context("cannot use the key of the orders' secrets")?,
            pushed,
            scrape_faults: Mutex::default(),
            reader,
            agent_labels,
            links: Links::default(),
            live: Live::default(),
            places: Places::new(N_STREAMS_EACH, N_STREAMS),
            questions: Places::new(N_QUESTIONS_EACH, N_QUESTIONS),
            options,
            hub_id,
            authority,
            tls,
            identity,
            clock,
            polls_changed: Notify::new(),
            copies_noted: Mutex::default(),
            fleet: Mutex::default(),
            kept_answers: Default::default(),
            described: Mutex::default(),
            coverages: Mutex::default(),
            hashing: Mutex::new(()),
            attempts: Attempts::default(),
            used: Mutex::default(),
            nobodys_password: nobodys_password()?,
        })
    }

    /// The present, by the hub's clock.
    pub fn now_ms(&self) -> TimeMs {
        (self.clock)()
    }

    /// By what agents know this hub for good.
    pub fn pin(&self) -> Pin {
        self.authority.pin()
    }

    /// The TLS of its listener, for transport only: what agents trust is inside. With the given
    /// certificate and key (PEM), or with the hub's own.
    pub fn outer_tls(&self, given: Option<(String, String)>) -> anyhow::Result<OuterTls> {
        let identity = match given {
            Some((chain, key)) => Identity { key, chain, ca: String::new() },
            None => self.identity.clone(),
        };
        outer_server(&identity).context("the certificate of the listener cannot be used")
    }

    /// Ends all links, and what is watched over them.
    pub fn hang_up(&self) {
        self.live.end();
        self.links.all().iter().for_each(|link| link.cancel.cancel());
    }

    pub(super) fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    /// As what the hub itself does something.
    pub(super) fn act(&self) -> Act {
        Act { actor: Actor::Hub, address: None, now_ms: self.now_ms() }
    }
}
