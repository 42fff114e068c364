//! Letting hosts in: join strings, what a host gets for one, and new certificates later.

use std::time::Duration;

use anyhow::Context;
use fieldpost_link::{
    AgentAddress, Invitation, Invited, Issued, JoinAnswer, JoinString, LinkError, Refusal, RefusalCode,
    Summons, Token, adopt_agent,
};
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, AgentRecord, Certificate, Fingerprint, JoinToken, Labels, Mode, NewAgent, NewJoinToken, Roles,
};
use serde_json::Value;

use super::people::token_hash;
use super::reception::refusal;
use super::{Hub, JoinDetails, JoinedDetails};

/// The longest time between two visits: what comes once a week is not watched.
const INTERVAL_MAX: Duration = Duration::from_secs(7 * 86_400);

/// An agent that invited this hub, as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollWish {
    /// Where the agent is, and what lets the hub in.
    pub invitation: Invitation,
    /// From one visit to the next; zero: the hub stays.
    pub interval: Duration,
    /// Roles of the agent.
    pub roles: Roles,
    /// Labels of the agent.
    pub labels: Labels,
}

/// A certificate for the hub's books.
pub(super) fn certificate_of(issued: &Issued, now_ms: TimeMs) -> Certificate {
    Certificate {
        serial: issued.certificate.serial.clone(),
        key: Fingerprint(*issued.certificate.key_pin.as_bytes()),
        issued_ms: now_ms,
        expires_ms: issued.certificate.not_after_ms,
    }
}

/// How an agent is polled.
fn poll_mode(address: &AgentAddress, interval: Duration) -> anyhow::Result<Mode> {
    anyhow::ensure!(interval <= INTERVAL_MAX, "the time between two visits must be at most 7d");
    Ok(Mode::Poll { address: address.to_string(), interval_seconds: interval.as_secs() })
}

/// A join token as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// How long it is good.
    pub ttl: Duration,
    /// How many hosts may come by it.
    pub uses: u32,
    /// Roles of those hosts.
    pub roles: Roles,
    /// Labels of those hosts.
    pub labels: Labels,
    /// Has somebody to approve each of them?
    pub needs_approval: bool,
}

impl Default for TokenWish {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            uses: 1,
            roles: Roles::new(),
            labels: Labels::new(),
            needs_approval: false,
        }
    }
}

impl Hub {
    /// Makes a token and the join string that holds it. The string is in no log and no file.
    pub fn make_join_token(&self, act: &Act, wish: TokenWish) -> anyhow::Result<(JoinToken, String)> {
        let token = Token::random().ok_or_else(|| anyhow::anyhow!("the system gives no random numbers"))?;
        let new = NewJoinToken {
            secret: token_hash(&token),
            ttl_ms: wish.ttl.as_millis() as i64,
            uses: wish.uses,
            roles: wish.roles,
            labels: wish.labels,
            needs_approval: wish.needs_approval,
            for_agent: None,
        };
        let kept = self.state.add_join_token(act, &new)?;
        let string = JoinString { urls: self.options.urls.clone(), pin: self.authority.pin(), token };
        Ok((kept, string.to_word()?))
    }

    /// Dials an agent that invited this hub, takes it in, and polls it from now on.
    pub async fn adopt(&self, act: &Act, wish: PollWish) -> anyhow::Result<AgentRecord> {
        let first = wish.invitation.addresses.first().context("the invitation has no address")?;
        let mode = poll_mode(first, wish.interval)?;
        let summons = Summons {
            token: wish.invitation.token.clone(),
            hub_id: self.hub_id.clone(),
            ca: self.authority.certificate_pem().to_owned(),
            details: Value::Null,
        };
        let issue = |invited: &Invited| self.admit_invited(act, invited, &wish, mode);
        let (invited, address) = adopt_agent(&wish.invitation, &summons, issue).await?;
        if address != *first {
            self.state.set_agent_mode(act, &invited.agent_id, &poll_mode(&address, wish.interval)?)?;
        }
        self.polls_changed.notify_one();
        let record = self.state.agent(&invited.agent_id)?;
        record.context("the agent was taken in and forgotten at once")
    }

    /// Makes the agent and its certificate, between the two questions of an adoption.
    fn admit_invited(
        &self,
        act: &Act,
        invited: &Invited,
        wish: &PollWish,
        mode: Mode,
    ) -> Result<JoinAnswer, LinkError> {
        let issued = self.authority.issue_agent(&invited.request, &invited.agent_id, act.now_ms)?;
        let details: JoinDetails = serde_json::from_value(invited.details.clone()).unwrap_or_default();
        let agent = NewAgent {
            id: invited.agent_id.clone(),
            certificate: certificate_of(&issued, act.now_ms),
            name: invited.name.clone(),
            roles: wish.roles.clone(),
            labels: wish.labels.clone(),
            version: details.version,
            mode,
            allow_jobs: details.allow_jobs,
        };
        let refused = |error| LinkError::Refused(refusal(&error));
        let agent = self.state.admit_agent(act, &agent).map_err(refused)?.agent;
        tracing::info!(agent = agent.name, id = agent.id, "an agent that invited this hub was taken in");
        let details = JoinedDetails {
            name: agent.name,
            roles: agent.roles,
            waits_for_approval: !agent.approved,
            time_ms: act.now_ms,
        };
        let unsaid = |_| LinkError::Refused(Refusal::new(RefusalCode::Other, "the answer cannot be written"));
        Ok(JoinAnswer {
            chain: issued.chain,
            ca: self.authority.certificate_pem().to_owned(),
            hub_id: self.hub_id.clone(),
            details: serde_json::to_value(details).map_err(unsaid)?,
        })
    }

    /// Changes where or how often an agent is visited. What is not given stays.
    pub fn change_polling(
        &self,
        act: &Act,
        agent: &AgentRecord,
        address: Option<&AgentAddress>,
        interval: Option<Duration>,
    ) -> anyhow::Result<AgentRecord> {
        let Mode::Poll { address: known, interval_seconds } = &agent.mode else {
            anyhow::bail!("{} dials the hub itself; only agents that were invited are polled", agent.name);
        };
        let address = address.map_or_else(|| known.parse(), |address| Ok(address.clone()))?;
        let interval = interval.unwrap_or(Duration::from_secs(*interval_seconds));
        let changed = self.state.set_agent_mode(act, &agent.id, &poll_mode(&address, interval)?)?;
        self.polls_changed.notify_one();
        Ok(changed)
    }
}
