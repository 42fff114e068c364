//! Jobs on one agent: how many short runs a second, how soon a command begins, what a shim takes, what
//! it costs to sample live runs and to keep what they say. No peer does the same; beside ours stands a
//! bare spawn of the same command, of which nothing is kept.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fieldpost_bed::{Agent, Hub, unix_get, unix_send, wait_for};
use serde_json::{Value, json};

use crate::program;
use crate::table::Row;

/// It measures nothing else meanwhile, as far as that can be.
const CONFIG: &str = "interval: 10s\nstore: {window: 60s}\njobs: {max_runs: 200}\n";
/// How many ask at the same time.
const AT_A_TIME: [usize; 4] = [1, 8, 16, 64];
/// The one that the target is for.
const TARGET_AT_A_TIME: usize = 16;
/// How long each of them asks.
const SPAN: Duration = Duration::from_secs(8);
/// Starts that are timed.
const N_STARTS: usize = 200;
/// Runs that live while shims are weighed.
const N_SHIMS: usize = 50;
/// Runs that live while sampling is weighed.
const N_SAMPLED: usize = 100;
/// How long that is weighed.
const SAMPLED_SPAN: Duration = Duration::from_secs(20);
/// Runs that talk, each a thousand lines a second.
const N_TALKING: usize = 100;
/// How long they do.
const TALK_SPAN: Duration = Duration::from_secs(10);

/// All of it.
pub fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = short_runs()?;
    rows.extend(start_latencies()?);
    rows.extend(shim_memory()?);
    rows.push(sampling()?);
    rows.push(talking()?);
    Ok(rows)
}

fn agent() -> anyhow::Result<Agent> {
    Agent::start(program(), CONFIG)
}

fn post(socket: &Path, job: &Value) -> anyhow::Result<String> {
    let answer = unix_send(socket, "POST", "/v1/runs", &json!({ "job": job }).to_string())?;
    let run: Value = serde_json::from_slice(&answer.body)?;
    Ok(run["id"].as_str().with_context(|| format!("refused: {run}"))?.to_owned())
}

/// The run when it is over, as it is on the disk.
fn result(socket: &Path, id: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(unix_get(socket, &format!("/v1/runs/{id}/result?wait=30s"))?.ok()?)?)
}

fn running(agent: &Agent, ids: &[String]) -> anyhow::Result<()> {
    let is_running = |id: &String| {
        let answer = agent.api(&format!("/v1/runs/{id}")).ok();
        let run = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
        run.is_some_and(|run| run["state"] == "running")
    };
    wait_for("live runs", || ids.iter().all(is_running).then_some(()))
}

/// Asks for one after the other, from so many threads, and counts what is done.
fn per_second(n_threads: usize, one: impl Fn() -> anyhow::Result<()> + Sync) -> anyhow::Result<f64> {
    let (n_done, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let ask = || -> anyhow::Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                one()?;
                n_done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(SPAN);
        is_over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread ended"))?)
    })?;
    Ok(n_done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

fn short_runs() -> anyhow::Result<Vec<Row>> {
    let agent = agent()?;
    let (socket, job) = (agent.socket(), json!({ "command": "true" }));
    let mut rows = Vec::new();
    for n_threads in AT_A_TIME {
        let ours = per_second(n_threads, || {
            let id = post(&socket, &job)?;
            result(&socket, &id).map(drop)
        })?;
        let bare = per_second(n_threads, || Ok(Command::new("true").status().map(drop)?))?;
        let what = format!("short runs, results durable, one shim each, {n_threads} at a time");
        let (ours_text, bare) = (format!("{ours:.0}/s"), format!("bare spawn {bare:.0}/s"));
        rows.push(if n_threads == TARGET_AT_A_TIME {
            Row::at_least(&what, (ours, ours_text), &bare, 200.0, 500.0, "/s")
        } else {
            Row::plain(&what, ours_text, &bare)
        });
    }
    Ok(rows)
}

fn percent(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// From the request to the first thing that the command does: `order` answers the id of a run of this job
/// that is over.
fn start_latency(
    (what, target): (&str, Option<(f64, f64)>),
    agent: &Agent,
    order: impl Fn(&Value) -> anyhow::Result<String>,
) -> anyhow::Result<Row> {
    let job = json!({ "command": "date", "args": ["+%s%N"] });
    let mut took = Vec::with_capacity(N_STARTS);
    for _ in 0..N_STARTS {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as f64;
        let id = order(&job)?;
        let said = unix_get(&agent.socket(), &format!("/v1/runs/{id}/logs"))?;
        let row: Value = serde_json::from_str(said.ok()?.lines().next().context("it said nothing")?)?;
        let began: f64 = row["text"].as_str().context("no text")?.trim().parse()?;
        took.push((began - asked) / 1e6);
    }
    took.sort_by(f64::total_cmp);
    let (p50, p99) = (percent(&took, 50), percent(&took, 99));
    let what = format!("from the request for a run to what its command does first, {what}, p50 / p99");
    let ours = format!("{p50:.1} / {p99:.1} ms");
    Ok(match target {
        Some((most_ms, goal_ms)) => Row::against(&what, (p99, ours), "–", most_ms, goal_ms, "ms"),
        None => Row::plain(&what, ours, "–"),
    })
}

fn start_latencies() -> anyhow::Result<Vec<Row>> {
    let (hub, agent) = (Hub::start(program(), "")?, agent()?);
    let joined = agent.join(&hub.join_string()?, &["--name", "a", "--allow-jobs", "any"])?;
    anyhow::ensure!(joined.status.success(), "join: {}", String::from_utf8_lossy(&joined.stderr));
    wait_for("the link", || hub.link_of("a").ok().filter(|state| state == "up"))?;
    let (near, far) = (agent.socket(), hub.socket());
    let local = start_latency(("local", None), &agent, |job| {
        let id = post(&near, job)?;
        result(&near, &id).map(|_| id)
    })?;
    let through_hub = start_latency(("through the hub", Some((50.0, 25.0))), &agent, |job| {
        let request = json!({ "job": job, "target": { "agent": "a" } }).to_string();
        let answer = unix_send(&far, "POST", "/api/v1/runs", &request)?;
        let ordered: Value = serde_json::from_slice(&answer.body)?;
        let id = ordered["runs"][0]["id"].as_str().with_context(|| format!("refused: {ordered}"))?.to_owned();
        unix_get(&far, &format!("/api/v1/runs/{id}/result?wait=30s"))?.ok()?;
        Ok(id)
    })?;
    Ok(vec![local, through_hub])
}

/// Shims of this agent.
fn shims(agent: &Agent) -> anyhow::Result<Vec<u32>> {
    let runs = agent.store().canonicalize()?.join("jobs/runs");
    let pids =
        std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_shim = |pid: &u32| {
        let is_there = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&runs));
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        is_there && name.trim() == "fieldpost-shim"
    };
    Ok(pids.filter(is_shim).collect())
}

/// Kilobytes of one kind (proc_pid_smaps(5)).
fn kilobytes(pid: u32, kind: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0.0)
}

fn live_runs(agent: &Agent, job: &Value, n_runs: usize) -> anyhow::Result<Vec<String>> {
    let ids = (0..n_runs).map(|_| post(&agent.socket(), job)).collect::<anyhow::Result<Vec<_>>>()?;
    running(agent, &ids)?;
    Ok(ids)
}

fn kill_all(agent: &Agent, ids: &[String]) -> anyhow::Result<()> {
    unix_send(&agent.socket(), "POST", "/v1/killall", r#"{"signal":"KILL"}"#)?;
    ids.iter().try_for_each(|id| result(&agent.socket(), id).map(drop))
}

fn shim_memory() -> anyhow::Result<Vec<Row>> {
    let agent = agent()?;
    let ids = live_runs(&agent, &json!({ "command": "sleep", "args": ["600"] }), N_SHIMS)?;
    let shims = shims(&agent)?;
    let mean =
        |kind: &str| shims.iter().map(|pid| kilobytes(*pid, kind)).sum::<f64>() / shims.len().max(1) as f64;
    let mut rows = Vec::new();
    for (kind, name) in [("Anonymous", "anonymous memory"), ("Pss", "proportional memory (PSS)")] {
        let what = format!("a shim among {}: {name}", shims.len());
        let ours = mean(kind);
        rows.push(Row::against(&what, (ours, format!("{ours:.0} kB")), "–", 1_024.0, 1_024.0, "kB"));
    }
    let what = format!("a shim among {}: resident memory, mostly the binary they share", shims.len());
    rows.push(Row::plain(&what, format!("{:.0} kB", mean("Rss")), "–"));
    kill_all(&agent, &ids)?;
    Ok(rows)
}

/// Processor time of one process, ended threads included, seconds (proc_pid_stat(5)).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn sampling() -> anyhow::Result<Row> {
    let mut agent = agent()?;
    let pid = agent.process().pid();
    let share = || {
        let before = cpu_seconds(pid);
        std::thread::sleep(SAMPLED_SPAN);
        (cpu_seconds(pid) - before) / SAMPLED_SPAN.as_secs_f64()
    };
    let alone = share();
    let ids = live_runs(&agent, &json!({ "command": "sleep", "args": ["600"] }), N_SAMPLED)?;
    let ours = ((share() - alone) * 100.0).max(0.0);
    kill_all(&agent, &ids)?;
    let what = format!("sampling {N_SAMPLED} live runs every second, of a core");
    Ok(Row::plain(&what, format!("{ours:.2} % ({:.0} µs a run)", ours * 1e4 / N_SAMPLED as f64), "–"))
}

fn talking() -> anyhow::Result<Row> {
    let mut agent = agent()?;
    let pid = agent.process().pid();
    let line = "while :; do seq -f 'line %g of a run that talks all the time' 1000; sleep 1; done";
    let ids = live_runs(&agent, &json!({ "shell": line }), N_TALKING)?;
    let shims = shims(&agent)?;
    let cpu = || cpu_seconds(pid) + shims.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
    let before = cpu();
    std::thread::sleep(TALK_SPAN);
    let spent = cpu() - before;
    kill_all(&agent, &ids)?;
    let (mut n_lines, mut n_lost) = (0, 0);
    for id in &ids {
        let output = &result(&agent.socket(), id)?["output"];
        n_lines += output["lines"].as_u64().unwrap_or(0);
        n_lost += output["lost_bytes"].as_u64().unwrap_or(0);
    }
    let what = format!(
        "keeping what {N_TALKING} runs say, a thousand lines a second each, of a core (all of them and the agent)"
    );
    let text = format!(
        "{:.1} % ({n_lines} lines in {} s and the start, {n_lost} bytes lost)",
        spent * 100.0 / TALK_SPAN.as_secs_f64(),
        TALK_SPAN.as_secs()
    );
    Ok(Row::plain(&what, text, "–"))
}
