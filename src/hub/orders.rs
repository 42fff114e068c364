//! Orders: what people want run, on the disk before they are answered; which agents get it; and what
//! becomes of an order that no agent has yet. How it comes to the agent is told in `deliver`.

use std::collections::BTreeMap;
use std::sync::Arc;

use fieldpost_model::Period;
use fieldpost_model::hub_runs::{KnownRun, RunWish, RunsFault};
use fieldpost_model::hub_state::{Act, HubStateError, ORDER_LIFE_MS_MAX, Order, OrderState, Ordered, Target};
use fieldpost_model::job::{Cause, Run, RunState, check_id};
use uuid::Uuid;

use super::Hub;
use super::targets::{Match, Matches, reasons};

/// How long an order waits for its agent, unless something else is said.
const ORDER_LIFE: Period = Period::from_secs(86_400);

/// Something that is to run.
#[derive(Debug, Clone)]
pub struct OrderWish {
    /// The id of the run, if it is to have a certain one; not with fan-out.
    pub id: Option<String>,
    /// What.
    pub ordered: Ordered,
    /// For whom.
    pub target: Target,
    /// Values of secret variables.
    pub secrets: BTreeMap<String, String>,
    /// How long it may wait for its agent.
    pub expires: Option<Period>,
}

/// Why nothing was ordered.
#[derive(Debug, thiserror::Error)]
pub enum OrderFault {
    /// The target cannot be.
    #[error("the target {0}")]
    Target(String),
    /// There is no such agent.
    #[error("there is no agent `{0}`; see: fieldpost hub agents")]
    NoAgent(String),
    /// Nobody is meant.
    #[error("nobody gets this: {0}")]
    Nobody(String),
    /// Some other thing cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The state refuses.
    #[error(transparent)]
    State(#[from] HubStateError),
    /// The runs cannot be written.
    #[error(transparent)]
    Runs(#[from] RunsFault),
    /// The secrets cannot be sealed.
    #[error("secrets cannot be kept: {0:#}")]
    Seal(anyhow::Error),
}

impl Hub {
    /// Orders: on the disk when this returns, one order for each run. Waits for the disk.
    pub fn order(&self, act: &Act, wish: &OrderWish) -> Result<Vec<Order>, OrderFault> {
        let (expires_ms, batch) = (self.expiry(wish.expires)?, Uuid::now_v7().to_string());
        check_wish(wish)?;
        let found = self.found(&wish.target, &wish.ordered)?;
        let chosen: Vec<Option<&Match>> = if wish.target.fanout || wish.target.agent.is_some() {
            found.matches.iter().map(Some).collect()
        } else {
            vec![self.least_busy(&found.matches)?]
        };
        let mut orders = Vec::with_capacity(chosen.len());
        for one in chosen {
            let id = wish.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
            let sealed = match wish.secrets.is_empty() {
                true => Vec::new(),
                false => self.seal.seal(&id, &wish.secrets).map_err(OrderFault::Seal)?,
            };
            // One that goes out at once is written as sent at once: that spares a commit.
            let is_ready = one.is_some_and(|one| one.waits.is_empty());
            orders.push(Order {
                id,
                batch: batch.clone(),
                agent: one.map(|one| one.agent_id.clone()),
                target: wish.target.clone(),
                ordered: wish.ordered.clone(),
                sealed,
                by: act.actor.to_string(),
                created_ms: act.now_ms,
                expires_ms,
                state: if is_ready { OrderState::Sent } else { OrderState::Waiting },
                reason: one.map_or_else(|| "nobody that matches is here".to_owned(), |one| one.waits.clone()),
                changed_ms: act.now_ms,
                killed_by: None,
            });
        }
        self.state.add_orders(act, &orders)?;
        self.show(&orders)?;
        for agent_id in orders.iter().filter_map(|order| order.agent.as_deref()) {
            self.tell_of_orders(agent_id);
        }
        Ok(orders)
    }

    fn expiry(&self, expires: Option<Period>) -> Result<i64, OrderFault> {
        let life_ms = expires.unwrap_or(ORDER_LIFE).as_ms();
        if !(1..=ORDER_LIFE_MS_MAX).contains(&life_ms) {
            return Err(OrderFault::Invalid("expires: write a span of at most 90d".to_owned()));
        }
        Ok(self.now_ms() + life_ms)
    }

    /// Who is meant; an error if nobody is.
    fn found(&self, target: &Target, ordered: &Ordered) -> Result<Matches, OrderFault> {
        let found = self.matches(target, ordered.needs())?;
        if found.matches.is_empty() {
            let Some(name) = &target.agent else { return Err(OrderFault::Nobody(reasons(&found.others))) };
            let Some(agent) = self.state.agent(name)? else { return Err(OrderFault::NoAgent(name.clone())) };
            let own = found.others.iter().filter(|other| other.agent == agent.name).cloned();
            return Err(OrderFault::Nobody(reasons(&own.collect::<Vec<_>>())));
        }
        Ok(found)
    }

    /// Of those that would begin at once the one with the fewest runs; none if all would wait.
    fn least_busy<'a>(&self, matches: &'a [Match]) -> Result<Option<&'a Match>, OrderFault> {
        let ready: Vec<&Match> = matches.iter().filter(|one| one.waits.is_empty()).collect();
        if ready.len() < 2 {
            return Ok(ready.first().copied());
        }
        let n_runs = self.runs.n_runs(&RunWish { going_on: true, ..RunWish::default() }, false)?;
        // Those that are alike take turns by chance.
        let chance = Uuid::new_v4().as_u128() as usize;
        let place = |at: usize| at.wrapping_add(chance) % ready.len();
        let least = ready
            .iter()
            .enumerate()
            .min_by_key(|(at, one)| (n_runs.get(&one.agent_id).copied().unwrap_or_default(), place(*at)));
        Ok(least.map(|(_, one)| *one))
    }

    /// Has the link of an agent look for orders.
    pub fn tell_of_orders(&self, agent_id: &str) {
        if let Some(link) = self.links.get(agent_id) {
            link.orders.notify_one();
        }
    }

    /// Shows all orders that never came to an agent as runs: called once, before anything is asked.
    pub fn show_orders(&self) -> anyhow::Result<()> {
        let orders = self.state.undelivered_orders(false)?;
        Ok(self.show(&orders)?)
    }

    /// Shows orders as runs, until the agent tells of them itself.
    pub(super) fn show(&self, orders: &[Order]) -> Result<(), RunsFault> {
        let shown: Vec<KnownRun> = orders.iter().map(as_run).collect();
        self.runs.show_orders(&shown)?;
        self.runs_changed.send_modify(|number| *number += 1);
        self.tell_of_results();
        Ok(())
    }

    /// Settles an order and shows what became of it; `false`: it was settled before.
    pub(super) fn settle(
        &self,
        act: &Act,
        id: &str,
        state: OrderState,
        reason: &str,
    ) -> Result<bool, OrderFault> {
        if !self.state.settle_order(act, id, state, reason)? {
            return Ok(false);
        }
        if let Some(order) = self.state.order(id)?.filter(|order| order.state != OrderState::Delivered) {
            self.show(&[order])?;
        }
        Ok(true)
    }

    /// Ends the waiting of orders that nobody took in time.
    pub(super) fn expire_orders(self: &Arc<Self>) -> anyhow::Result<()> {
        let act = self.act();
        for order in self.state.undelivered_orders(true)? {
            if order.state == OrderState::Waiting && order.expires_ms < act.now_ms {
                let reason = format!("nobody took it in time: {}", order.reason);
                self.settle(&act, &order.id, OrderState::Expired, &reason)?;
            }
        }
        Ok(())
    }
}

fn check_wish(wish: &OrderWish) -> Result<(), OrderFault> {
    if let Some(fault) = wish.target.fault() {
        return Err(OrderFault::Target(fault.to_owned()));
    }
    match wish.id.as_deref() {
        Some(_) if wish.target.fanout => {
            Err(OrderFault::Invalid("id: is for one run; with fan-out there are several".to_owned()))
        }
        Some(id) => check_id(id).map_err(|text| OrderFault::Invalid(format!("id: {text}"))),
        None => Ok(()),
    }
}

/// An order as the run that it is to become.
fn as_run(order: &Order) -> KnownRun {
    let by = format!("hub for {}", order.by);
    let mut run = Run::new(order.id.clone(), order.ordered.job(), Cause::Asked, by, order.created_ms);
    let state = match order.state {
        OrderState::Cancelled | OrderState::Expired => RunState::Cancelled,
        OrderState::Refused => RunState::Refused,
        OrderState::Waiting | OrderState::Sent | OrderState::Delivered => RunState::Queued,
    };
    if state.is_final() {
        run.change(state, order.changed_ms, order.reason.clone());
    } else if !order.reason.is_empty() {
        run.changes[0].reason = format!("ordered; {}", order.reason);
    }
    run.job.stdin = None;
    KnownRun {
        agent_id: order.agent.clone().unwrap_or_default(),
        batch: order.batch.clone(),
        version: 0,
        run,
    }
}
