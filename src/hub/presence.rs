//! What the hub itself measures of each agent, as a Prometheus does of its targets: `up`, so that alerts
//! on `up == 0` work, how far its newest stored sample lies back, and what people call it, to be joined to
//! its other series by `instance`. And what it measures of itself.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_formats::{Metadata, Pushed, PushedSeries, Sample};
use fieldpost_model::hub_state::{AgentRecord, Mode};
use fieldpost_model::{ABSENT, Kind, TimeMs};

use super::pushed::HUB;
use super::{Hub, LinkState};
use crate::telemetry::Cost;

/// How often it is written.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// The label `job` of what the hub says of itself.
const OWN_JOB: &str = "fieldpost-hub";
/// The longest that writing may hold up whoever waits for it.
const DEADLINE: Duration = Duration::from_secs(5);

impl Hub {
    /// Writes the series of this moment. What cannot be written is left out: the next ones come soon.
    pub(super) async fn note_presence(self: Arc<Self>) {
        let written = self.store_own(HUB.to_owned(), |hub, visit| hub.say_presence(visit));
        match tokio::time::timeout(DEADLINE, written).await {
            Ok(Ok(refused)) if refused.is_any() => {
                tracing::warn!(reason = %refused, "series about agents are not stored");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(error, "series about agents are not stored");
            }
            Err(_) => tracing::warn!("series about agents are not stored in time"),
        }
    }

    fn say_presence(&self, visit: &mut dyn FnMut(Pushed<'_>)) -> anyhow::Result<()> {
        let now_ms = self.now_ms();
        let every_ms = EVERY.as_millis() as i64;
        // On a grid, so that all of them share one column of instants.
        let time_ms = now_ms.div_euclid(every_ms) * every_ms;
        let kept_ms = now_ms - self.options.forget_after.as_millis() as i64;
        let newest = self.store.newest_ms();
        self.say_itself(time_ms, visit);
        for agent in self.state.agents()? {
            let last_ms = agent.last_seen_ms.unwrap_or(agent.enrolled_ms);
            let is_listed = last_ms >= kept_ms || self.links.get(&agent.id).is_some();
            if !is_listed || !agent.is_trusted() {
                continue;
            }
            let up = f64::from(u8::from(self.is_up(&agent, now_ms)));
            let help = "1 if the agent was reached when it was last due, else 0.";
            self.say(&agent, "up", help, (time_ms, up), visit);
            self.say_described(&agent, time_ms, visit);
            if let Some(newest_ms) = newest.get(&agent.id) {
                let lag = (now_ms - newest_ms).max(0) as f64 / 1_000.0;
                let help = "Age of the newest stored sample of the agent.";
                self.say(&agent, "fieldpost_agent_lag_seconds", help, (time_ms, lag), visit);
            }
        }
        Ok(())
    }

    /// The label `instance` of the hub's own series: where it is reached.
    pub fn own_instance(&self) -> String {
        let url = self.options.urls.first().map(ToString::to_string).unwrap_or_default();
        url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/').to_owned()
    }

    /// What the hub says of itself: what it costs, and how its store does.
    fn say_itself(&self, time_ms: TimeMs, visit: &mut dyn FnMut(Pushed<'_>)) {
        let instance = self.own_instance();
        let figures = self.store.figures();
        let mut say = |name: &str, kind: Kind, help: &str, value: f64| {
            let labels = [("__name__", name), ("instance", &instance), ("job", OWN_JOB)];
            let samples = [Sample { time_ms, value, start_ms: None }];
            let metadata = Some(Metadata { kind, help, unit: "" });
            visit(Pushed::Series(PushedSeries { labels: &labels, metadata, samples: &samples }));
        };
        for (name, help, value) in [
            ("fieldpost_hub_store_bytes", "Bytes of all that the hub has stored.", figures.bytes as f64),
            ("fieldpost_hub_links", "Agents that are linked now.", self.links.all().len() as f64),
            ("fieldpost_hub_queue_bytes", "Bytes that wait to be written.", figures.queue_bytes as f64),
            (
                "fieldpost_hub_merge_lag_seconds",
                "Age of the oldest hour that should have been merged.",
                figures.merge_lag_ms as f64 / 1_000.0,
            ),
        ] {
            say(name, Kind::Gauge, help, value);
        }
        for (name, help, value) in [
            ("fieldpost_hub_samples_total", "Samples stored since the start.", figures.n_samples_stored),
            ("fieldpost_hub_items_total", "Items stored since the start.", figures.n_items_stored),
            ("fieldpost_hub_refused_total", "Items and definitions that were refused.", figures.n_refused),
        ] {
            say(name, Kind::Counter, help, value as f64);
        }
        if let Some(cost) = Cost::now() {
            let help = "User and system CPU time.";
            say("process_cpu_seconds_total", Kind::Counter, help, cost.cpu_seconds);
            say("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", cost.rss_bytes);
        }
    }

    /// What people say of an agent, as labels. What they say no longer ends at once: two series of an
    /// agent at an instant could not be joined to its others.
    fn say_described(&self, agent: &AgentRecord, time_ms: TimeMs, visit: &mut dyn FnMut(Pushed<'_>)) {
        let described = described(agent);
        let before = self.described.lock().insert(agent.id.clone(), described.clone()).unwrap_or_default();
        for own in &described {
            self.say_labelled(agent, own, (time_ms, 1.0), visit);
        }
        for gone in before.iter().filter(|own| !described.contains(own)) {
            self.say_labelled(agent, gone, (time_ms, ABSENT), visit);
        }
    }

    fn is_up(&self, agent: &AgentRecord, now_ms: TimeMs) -> bool {
        let late_after = self.options.late_after;
        let link = self.links.state(&agent.id, agent.last_seen_ms, late_after, now_ms);
        match (&agent.mode, agent.last_seen_ms) {
            _ if matches!(link, LinkState::Up { .. }) => true,
            (Mode::Poll { interval_seconds: seconds @ 1.., .. }, Some(last_ms)) => {
                let patience = Duration::from_secs(*seconds).saturating_add(late_after);
                u128::try_from(now_ms - last_ms).unwrap_or(0) <= patience.as_millis()
            }
            _ => false,
        }
    }

    fn say(
        &self,
        agent: &AgentRecord,
        name: &'static str,
        help: &'static str,
        sample: (TimeMs, f64),
        visit: &mut dyn FnMut(Pushed<'_>),
    ) {
        self.say_labelled(agent, &Described { name, help, labels: Vec::new() }, sample, visit);
    }

    fn say_labelled(
        &self,
        agent: &AgentRecord,
        own: &Described,
        (time_ms, value): (TimeMs, f64),
        visit: &mut dyn FnMut(Pushed<'_>),
    ) {
        let ours = &self.options.labels;
        let instance = ours.instance_of(&agent.name, &agent.id);
        let mut labels = vec![("__name__", own.name), ("instance", &instance), ("job", &ours.job)];
        labels.extend(own.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        labels.sort_unstable();
        let samples = [Sample { time_ms, value, start_ms: None }];
        let metadata = Some(Metadata { kind: Kind::Gauge, help: own.help, unit: "" });
        visit(Pushed::Series(PushedSeries { labels: &labels, metadata, samples: &samples }));
    }
}

/// A series about an agent, without the labels that say which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    name: &'static str,
    help: &'static str,
    labels: Vec<(String, String)>,
}

/// Version, status and labels of an agent as labels of one series, and a series for each of its roles.
fn described(agent: &AgentRecord) -> Vec<Described> {
    let mut labels = vec![
        ("version".to_owned(), agent.version.clone()),
        ("status".to_owned(), agent.status.status.as_str().to_owned()),
    ];
    for (name, value) in &agent.labels {
        let usual = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(usual).collect();
        let name = format!("label_{name}");
        // Two that become the same name: the first one counts.
        if labels.iter().all(|(other, _)| *other != name) {
            labels.push((name, value.clone()));
        }
    }
    let info = Described {
        name: "fieldpost_agent_info",
        help: "1, with version, status and labels of the agent; join it by instance.",
        labels,
    };
    let role = |role: &String| Described {
        name: "fieldpost_agent_role",
        help: "1 for each role of the agent; join it by instance.",
        labels: vec![("role".to_owned(), role.clone())],
    };
    [info].into_iter().chain(agent.roles.iter().map(role)).collect()
}
