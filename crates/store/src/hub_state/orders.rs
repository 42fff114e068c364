//! Orders for runs, and the jobs that are defined at the hub.

use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, Actor, HubJob, HubStateError, Order, OrderState, Ordered, Orders, StateResult, check_text,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};

use super::{Failure, SqliteHubState, audit, rows};

const COLUMNS: &str =
    "id, batch, agent, target, ordered, sealed, made_by, created_ms, expires_ms, state, reason,
    changed_ms, killed_by";
/// Orders that are not settled, at most: more are refused until some are.
const N_OPEN_MAX: i64 = 100_000;
/// Jobs at the hub, at most.
const N_JOBS_MAX: i64 = 10_000;
/// Agents that are named in the audit entry of a fan-out.
const N_NAMED_MAX: usize = 100;

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: row.get(0)?,
        batch: row.get(1)?,
        agent: row.get(2)?,
        target: rows::json(row, 3)?,
        ordered: rows::json(row, 4)?,
        sealed: row.get(5)?,
        by: row.get(6)?,
        created_ms: row.get(7)?,
        expires_ms: row.get(8)?,
        state: rows::word(row, 9)?,
        reason: row.get(10)?,
        changed_ms: row.get(11)?,
        killed_by: row.get(12)?,
    })
}

fn hub_job(row: &Row<'_>) -> rusqlite::Result<HubJob> {
    Ok(HubJob {
        job: rows::json(row, 0)?,
        target: rows::json(row, 1)?,
        paused: row.get(2)?,
        chosen: row.get(3)?,
        by: row.get(4)?,
        changed_ms: row.get(5)?,
    })
}

fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Order>> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], order).optional()
}

fn add(transaction: &Transaction<'_>, order: &Order) -> Result<(), Failure> {
    let sql = "INSERT INTO orders (id, batch, agent, target, ordered, sealed, made_by, created_ms, expires_ms, state,
        is_open, reason, changed_ms, killed_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let values = params![
        order.id,
        order.batch,
        order.agent,
        rows::to_json(&order.target)?,
        rows::to_json(&order.ordered)?,
        order.sealed,
        order.by,
        order.created_ms,
        order.expires_ms,
        order.state.as_str(),
        !order.state.is_settled(),
        order.reason,
        order.changed_ms,
        order.killed_by,
    ];
    match transaction.prepare_cached(sql)?.execute(values) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(HubStateError::taken("run", &order.id).into())
        }
        done => done.map(drop).map_err(Failure::from),
    }
}

/// What the audit log says of an order. What a command is given beside its arguments may be private.
fn told(orders: &[Order]) -> Value {
    let Some(first) = orders.first() else { return json!({}) };
    let agents: Vec<&str> = orders.iter().filter_map(|order| order.agent.as_deref()).collect();
    let what = match &first.ordered {
        Ordered::Job(job) => json!({ "job": job.name, "command": short(&job.argv().join(" ")) }),
        Ordered::Named { name, .. } => json!({ "named": name }),
    };
    json!({
        "what": what,
        "target": first.target,
        "runs": orders.len(),
        "agents": &agents[..agents.len().min(N_NAMED_MAX)],
        "run": first.id,
        "expires_ms": first.expires_ms,
    })
}

fn short(text: &str) -> String {
    text.chars().take(500).collect()
}

fn count(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

impl Orders for SqliteHubState {
    fn add_orders(&self, act: &Act, orders: &[Order]) -> StateResult<()> {
        self.write(|transaction| {
            let n_open = count(transaction, "SELECT count(*) FROM orders WHERE is_open = 1")?;
            if n_open + orders.len() as i64 > N_OPEN_MAX {
                let reason = format!("{n_open} orders wait for their agents already; call some off");
                return Err(HubStateError::invalid("order", reason).into());
            }
            orders.iter().try_for_each(|order| add(transaction, order))?;
            let batch = orders.first().map_or("", |order| &order.batch);
            Ok(audit::append(transaction, act, "run.order", batch, &told(orders))?)
        })
    }

    fn order(&self, id: &str) -> StateResult<Option<Order>> {
        self.read(|connection| Ok(find(connection, id)?))
    }

    fn orders_for(&self, agent_id: &str) -> StateResult<Vec<Order>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM orders WHERE is_open = 1 AND (agent = ?1 OR agent IS NULL) ORDER BY number"
        );
        self.read(|connection| {
            Ok(connection.prepare_cached(&sql)?.query_map([agent_id], order)?.collect::<Result<_, _>>()?)
        })
    }

    fn undelivered_orders(&self, only_open: bool) -> StateResult<Vec<Order>> {
        let condition = if only_open { "is_open = 1" } else { "state <> 'delivered'" };
        let sql = format!("SELECT {COLUMNS} FROM orders WHERE {condition} ORDER BY number");
        self.read(|connection| {
            Ok(connection.prepare_cached(&sql)?.query_map([], order)?.collect::<Result<_, _>>()?)
        })
    }

    fn claim_order(&self, id: &str, agent_id: &str, now_ms: TimeMs) -> StateResult<bool> {
        let sql = "UPDATE orders SET state = 'sent', agent = ?2, changed_ms = ?3 WHERE id = ?1 AND state = 'waiting'
            AND coalesce(agent, ?2) = ?2";
        self.write(|transaction| {
            Ok(transaction.prepare_cached(sql)?.execute(params![id, agent_id, now_ms])? == 1)
        })
    }

    fn settle_order(&self, act: &Act, id: &str, state: OrderState, reason: &str) -> StateResult<bool> {
        // What was sent may run: then only the agent knows.
        let from = match state {
            OrderState::Delivered | OrderState::Refused => "('waiting', 'sent')",
            _ => "('waiting')",
        };
        // The secrets of what is settled are needed no more. What is to be ended stays open until the
        // agent was told.
        let sql = format!(
            "UPDATE orders SET state = ?2, reason = ?3, changed_ms = ?4, sealed = x'',
             is_open = (?2 = 'delivered' AND killed_by IS NOT NULL) WHERE id = ?1 AND state IN {from}"
        );
        self.write(|transaction| {
            let values = params![id, state.as_str(), short(reason), act.now_ms];
            let is_done = transaction.prepare_cached(&sql)?.execute(values)? == 1;
            if is_done && act.actor != Actor::Hub {
                let detail = json!({ "is": state, "reason": short(reason) });
                audit::append(transaction, act, "run.settle", id, &detail)?;
            }
            Ok(is_done)
        })
    }

    fn wish_order_killed(&self, act: &Act, id: &str, by: Option<&str>) -> StateResult<()> {
        let sql =
            "UPDATE orders SET killed_by = ?2, is_open = (?2 IS NOT NULL OR state IN ('waiting', 'sent'))
            WHERE id = ?1";
        self.write(|transaction| {
            if transaction.prepare_cached(sql)?.execute(params![id, by])? == 0 {
                return Err(HubStateError::unknown("order", id).into());
            }
            if by.is_some() {
                audit::append(transaction, act, "run.kill", id, &json!({ "by": by }))?;
            }
            Ok(())
        })
    }

    fn remove_order(&self, act: &Act, id: &str) -> StateResult<bool> {
        let sql = "DELETE FROM orders WHERE id = ?1 AND is_open = 0 AND state <> 'delivered'";
        self.write(|transaction| {
            let is_done = transaction.prepare_cached(sql)?.execute([id])? == 1;
            if is_done {
                audit::append(transaction, act, "run.remove", id, &json!({}))?;
            }
            Ok(is_done)
        })
    }

    fn hub_jobs(&self) -> StateResult<Vec<HubJob>> {
        let sql = "SELECT job, target, paused, chosen, made_by, changed_ms FROM hub_jobs ORDER BY name";
        self.read(|connection| {
            Ok(connection.prepare_cached(sql)?.query_map([], hub_job)?.collect::<Result<_, _>>()?)
        })
    }

    fn put_hub_job(&self, act: &Act, job: &HubJob) -> StateResult<()> {
        let name = &job.job.name;
        check_text("job name", name)?;
        if name.is_empty() {
            return Err(HubStateError::invalid("job", "it needs a name by which it goes"));
        }
        self.write(|transaction| {
            if count(transaction, "SELECT count(*) FROM hub_jobs")? >= N_JOBS_MAX {
                return Err(
                    HubStateError::invalid("job", "there are too many at the hub; remove some").into()
                );
            }
            let values = params![
                name,
                rows::to_json(&job.job)?,
                rows::to_json(&job.target)?,
                job.paused,
                job.chosen,
                job.by,
                job.changed_ms
            ];
            let sql = "INSERT OR REPLACE INTO hub_jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            transaction.prepare_cached(sql)?.execute(values)?;
            let detail = json!({
                "command": short(&job.job.argv().join(" ")),
                "target": job.target,
                "paused": job.paused,
                "chosen": job.chosen,
            });
            Ok(audit::append(transaction, act, "job.put", name, &detail)?)
        })
    }

    fn remove_hub_job(&self, act: &Act, name: &str) -> StateResult<()> {
        self.write(|transaction| {
            if transaction.execute("DELETE FROM hub_jobs WHERE name = ?1", [name])? == 0 {
                return Err(HubStateError::unknown("job at the hub", name).into());
            }
            Ok(audit::append(transaction, act, "job.remove", name, &json!({}))?)
        })
    }
}
