//! What the hub itself measures of each agent, as a Prometheus does of its targets: `up`, so that alerts
//! on `up == 0` work, and how far its newest stored sample lies back.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_formats::{Metadata, Pushed, PushedSeries, Sample};
use fieldpost_model::hub_state::{AgentRecord, Mode};
use fieldpost_model::{Kind, TimeMs};

use super::pushed::HUB;
use super::{Hub, LinkState};

/// How often it is written.
pub(super) const EVERY: Duration = Duration::from_secs(10);
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
        for agent in self.state.agents()? {
            let last_ms = agent.last_seen_ms.unwrap_or(agent.enrolled_ms);
            let is_listed = last_ms >= kept_ms || self.links.get(&agent.id).is_some();
            if !is_listed || !agent.is_trusted() {
                continue;
            }
            let up = f64::from(u8::from(self.is_up(&agent, now_ms)));
            let help = "1 if the agent was reached when it was last due, else 0.";
            self.say(&agent, "up", help, (time_ms, up), visit);
            if let Some(newest_ms) = newest.get(&agent.id) {
                let lag = (now_ms - newest_ms).max(0) as f64 / 1_000.0;
                let help = "Age of the newest stored sample of the agent.";
                self.say(&agent, "fieldpost_agent_lag_seconds", help, (time_ms, lag), visit);
            }
        }
        Ok(())
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
        name: &str,
        help: &str,
        (time_ms, value): (TimeMs, f64),
        visit: &mut dyn FnMut(Pushed<'_>),
    ) {
        let labels = &self.options.labels;
        let instance = labels.instance_of(&agent.name, &agent.id);
        let labels = [("__name__", name), ("instance", &instance), ("job", &labels.job)];
        let samples = [Sample { time_ms, value, start_ms: None }];
        let metadata = Some(Metadata { kind: Kind::Gauge, help, unit: "" });
        visit(Pushed::Series(PushedSeries { labels: &labels, metadata, samples: &samples }));
    }
}
