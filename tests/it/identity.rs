//! Identities: certificates are renewed before they end, a crash at any step of that locks nobody
//! out, and a copy of an agent is told from the agent.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use fieldpost::agent::{Hubs, Membership};
use fieldpost::api::{self, Listener};
use fieldpost::hub::{Hub as Core, HubOptions, Labels, TokenWish};
use fieldpost_bed::{Agent, Hub, Scratch, copy_folder, free_port, wait_for};
use fieldpost_link::Authority;
use fieldpost_model::hub_state::{Act, Actor, Certificate, Fingerprint};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use fieldpost_store::{SqliteHubRuns, SqliteHubState};
use rustix::process::geteuid;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::hub_faults::{FAST, NAME, joined, program, wait_until_up};
use crate::poll::on_another_host;

const DAY_MS: i64 = 86_400_000;

/// A hub within this process, whose clock the test sets.
struct TimedHub {
    record: Arc<HubStore>,
    core: Arc<Core>,
    ahead_ms: Arc<AtomicI64>,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
}

impl TimedHub {
    fn start(data: &Path, port: u16, ahead_ms: i64) -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(ahead_ms));
        let ahead = Arc::clone(&ahead_ms);
        let clock = Arc::new(move || wall_ms() + ahead.load(Ordering::SeqCst));
        let runtime = Runtime::new().unwrap();
        let inside = runtime.enter();
        std::fs::create_dir_all(data).unwrap();
        let state = SqliteHubState::open(data).unwrap();
        let (store, _) = HubStore::open(HubStoreOptions::new(data.join("record"))).unwrap();
        let options = HubOptions {
            late_after: std::time::Duration::from_secs(30),
            forget_after: std::time::Duration::from_secs(7 * 86_400),
            live_series_max: 10_000,
            keeps: fieldpost::hub::Keeps::default(),
            urls: vec![format!("http://127.0.0.1:{port}").parse().unwrap()],
            labels: Labels::default(),
        };
        let record = Arc::new(store);
        let runs = Arc::new(SqliteHubRuns::open(data, clock()).unwrap());
        let rooms = (Arc::clone(&record), runs as _);
        let core = Core::new(Arc::new(state), rooms, &data.join("keys"), options, clock).unwrap();
        let core = Arc::new(core);
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).unwrap();
        let shutdown = CancellationToken::new();
        let router = api::hub_public_router(Arc::clone(&core));
        runtime.spawn(api::serve(Listener::Tcp(listener), router, 64, shutdown.clone()));
        drop(inside);
        Self { core, record, ahead_ms, shutdown, runtime: Some(runtime) }
    }

    fn go_ahead(&self, days: i64) {
        self.ahead_ms.fetch_add(days * DAY_MS, Ordering::SeqCst);
    }

    fn join_string(&self) -> String {
        let act = Act::new(Actor::Hub, self.core.now_ms());
        self.core.make_join_token(&act, TokenWish::default()).unwrap().1
    }

    fn agent_id(&self) -> String {
        self.core.state.agents().unwrap()[0].id.clone()
    }

    fn is_up(&self) -> bool {
        self.core.links.get(&self.agent_id()).is_some()
    }

    fn wait_until_up(&self) {
        wait_for("the link", || self.is_up().then_some(())).unwrap();
    }

    /// Ends the link, so that the agent dials again.
    fn cut(&self) {
        self.core.links.cut(&self.agent_id());
    }

    /// Asks the agent for something, as the hub does.
    fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let link = self.core.links.get(&self.agent_id()).unwrap();
        let runtime = self.runtime.as_ref().unwrap();
        match path {
            "/v1/identity" => runtime.block_on(link.tell(path, body)).map(|()| Value::Null),
            _ => runtime.block_on(link.post_json(path, body)),
        }
    }
}

impl Drop for TimedHub {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.core.hang_up();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
        let _may_be_closed = self.record.close();
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn membership(agent: &Agent) -> Membership {
    Hubs::of(&agent.store()).load().unwrap().remove(0)
}

fn serial(agent: &Agent) -> String {
    membership(agent).identity.certificate().unwrap().serial
}

/// A hub with a clock of its own, and an agent that has joined it.
fn bed() -> (Scratch, TimedHub, Agent) {
    let scratch = Scratch::new().unwrap();
    let hub = TimedHub::start(&scratch.path().join("hub"), free_port().unwrap(), 0);
    let agent = Agent::start(program(), FAST).unwrap();
    let output = agent.join(&hub.join_string(), &["--name", NAME]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    hub.wait_until_up();
    (scratch, hub, agent)
}

fn wait_until_renewed(agent: &Agent, old: &str) -> String {
    wait_for("the renewal", || Some(serial(agent)).filter(|new| new != old)).unwrap()
}

#[test]
fn certificate_is_renewed_at_half_its_life_and_the_old_one_goes_once_the_new_one_was_used() {
    let (_scratch, hub, agent) = bed();
    let old = serial(&agent);
    hub.go_ahead(14);
    hub.cut();
    hub.wait_until_up();
    let certificates = || hub.core.state.agents().unwrap().remove(0).certificates;
    assert_eq!((serial(&agent), certificates().len()), (old.clone(), 1), "it is not time yet");
    hub.go_ahead(2);
    hub.cut();
    let new = wait_until_renewed(&agent, &old);
    assert_eq!(membership(&agent).previous.unwrap().certificate().unwrap().serial, old);
    assert_eq!(certificates().len(), 2);
    assert!(hub.is_up(), "a renewal does not end the link");
    hub.cut();
    let settled = || membership(&agent).previous.is_none().then_some(());
    wait_for("the new one to be used", settled).unwrap();
    assert_eq!(serial(&agent), new);
    let audit = hub.core.state.audit(None, 20).unwrap();
    assert_eq!(audit.iter().filter(|entry| entry.action == "agent.renew").count(), 1);
}

#[test]
fn agent_that_dies_at_any_step_of_a_renewal_comes_back() {
    let (scratch, hub, mut agent) = bed();
    let old = serial(&agent);
    let again = |agent: &mut Agent| {
        agent.kill().unwrap();
        hub.cut();
        agent.start_again().unwrap();
        hub.wait_until_up();
    };
    // A new key was asked for.
    hub.ask("/v1/identity/request", &Value::Null).unwrap();
    again(&mut agent);
    // Its certificate is in the hub's books, and has not arrived.
    let request = hub.ask("/v1/identity/request", &Value::Null).unwrap()["request"].clone();
    let key = |name| std::fs::read_to_string(scratch.path().join("hub/keys").join(name)).unwrap();
    let authority = Authority::load(&key("ca.pem"), &key("ca.key")).unwrap();
    let issue = |request: &Value, used: &str| {
        let now_ms = hub.core.now_ms();
        let issued = authority.issue_agent(request.as_str().unwrap(), &hub.agent_id(), now_ms).unwrap();
        let certificate = Certificate {
            serial: issued.certificate.serial,
            key: Fingerprint(*issued.certificate.key_pin.as_bytes()),
            issued_ms: now_ms,
            expires_ms: issued.certificate.not_after_ms,
        };
        let act = Act::new(Actor::Hub, now_ms);
        hub.core.state.renew_certificate(&act, &hub.agent_id(), used, &certificate).unwrap();
        json!({ "chain": issued.chain })
    };
    let lost = issue(&request, &old);
    again(&mut agent);
    assert_eq!(serial(&agent), old);
    assert!(hub.ask("/v1/identity", &lost).is_err(), "its key died with the agent");
    // It has arrived, and was not used.
    let request = hub.ask("/v1/identity/request", &Value::Null).unwrap()["request"].clone();
    hub.ask("/v1/identity", &issue(&request, &old)).unwrap();
    again(&mut agent);
    assert_ne!(serial(&agent), old);
    let settled = || membership(&agent).previous.is_none().then_some(());
    wait_for("the new one to be used", settled).unwrap();
}

#[test]
fn hub_that_was_put_back_to_before_a_renewal_still_knows_the_agent() {
    let (scratch, hub, agent) = bed();
    let (data, copy) = (scratch.path().join("hub"), scratch.path().join("copy"));
    let port = hub.core.options.urls[0].port();
    drop(hub);
    copy_folder(&data, &copy).unwrap();
    let hub = TimedHub::start(&data, port, 16 * DAY_MS);
    let old = serial(&agent);
    let new = wait_until_renewed(&agent, &old);
    drop(hub);
    let hub = TimedHub::start(&copy, port, 16 * DAY_MS);
    hub.wait_until_up();
    let newer = wait_until_renewed(&agent, &new);
    assert!(newer != old && newer != new);
    drop(hub);
}

#[test]
fn expired_certificate_is_good_for_its_renewal_and_nothing_else() {
    let (_scratch, hub, agent) = bed();
    let old = serial(&agent);
    let path = agent.store().join("hubs").join(&hub.core.hub_id).join("membership.json");
    // The agent cannot store a new one: nobody gets past that.
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    hub.go_ahead(31);
    hub.cut();
    let renewals = || {
        let audit = hub.core.state.audit(None, 20).unwrap();
        audit.iter().filter(|entry| entry.action == "agent.renew").count()
    };
    wait_for("a renewal that fails", || (renewals() > 0).then_some(())).unwrap();
    let n_stored = hub.record.stats().n_items_stored;
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(!hub.is_up(), "an expired certificate is no link");
    assert_eq!(hub.record.stats().n_items_stored, n_stored);
    std::fs::write(&path, kept).unwrap();
    wait_until_renewed(&agent, &old);
    hub.wait_until_up();
}

#[test]
fn certificate_that_ended_a_year_ago_is_not_renewed() {
    let (_scratch, hub, agent) = bed();
    hub.go_ahead(400);
    hub.cut();
    let reason = || {
        let hubs: Value = serde_json::from_str(agent.api("/v1/hubs").ok()?.ok().ok()?).ok()?;
        hubs[0]["reason"].as_str()?.contains("ended over a year ago").then_some(())
    };
    wait_for("the refusal", reason).unwrap();
}

#[test]
fn copy_of_an_agent_is_sent_away_and_the_first_stays() {
    if !geteuid().is_root() {
        println!("only root can give a process another boot id; not tested");
        return;
    }
    let hub = Hub::start(program(), "").unwrap();
    let mut agent = joined(&hub, FAST, NAME);
    wait_until_up(&hub, &agent, NAME);
    agent.stop().unwrap();
    let host = Scratch::new().unwrap();
    copy_folder(&agent.store(), &host.path().join("data")).unwrap();
    agent.start_again().unwrap();
    wait_until_up(&hub, &agent, NAME);
    let elsewhere = on_another_host(&host).unwrap();
    let copy = Agent::start_in(host, &elsewhere, FAST, &[]).unwrap();
    let reason = || {
        let hubs: Value = serde_json::from_str(copy.api("/v1/hubs").ok()?.ok().ok()?).ok()?;
        hubs[0]["reason"]
            .as_str()?
            .contains("another host with this identity is linked already")
            .then_some(())
    };
    wait_for("the refusal", reason).unwrap();
    wait_until_up(&hub, &agent, NAME);
    let audit = fieldpost_bed::unix_get(&hub.socket(), "/api/v1/audit").unwrap();
    assert_eq!(audit.ok().unwrap().matches("agent.copy_refused").count(), 1);
}
