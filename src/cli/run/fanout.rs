//! A run on several agents at once: who they are is shown first, what each came to as it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::job::Run;
use tokio::task::JoinSet;

use super::super::job_door::JobDoor;
use super::super::{exit, terminal};
use super::ending;
use crate::api::RunsOrdered;
use crate::hub::{Matches, RunView};
use crate::jobs::LogRow;

/// More agents than this are confirmed.
const N_UNASKED_MAX: usize = 10;
/// Names that are shown.
const N_SHOWN_MAX: usize = 20;
/// Asked for at a time.
const WAIT: Duration = Duration::from_secs(30);

/// Shows who is meant; above ten somebody has to say yes.
pub fn confirm(found: &Matches, yes: bool) -> anyhow::Result<()> {
    let names: Vec<&str> = found.matches.iter().map(|one| one.agent.as_str()).collect();
    let shown = names[..names.len().min(N_SHOWN_MAX)].join(", ");
    let more = names.len().saturating_sub(N_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let words = if names.len() == 1 { "agent matches" } else { "agents match" };
    terminal::err(&format!("{} {words}: {shown}{more}", names.len()));
    if names.len() <= N_UNASKED_MAX || yes {
        return Ok(());
    }
    let usage = |text: &str| exit::failure(exit::USAGE, format!("error: {text}"));
    if !terminal::asks() || !terminal::is_watched() {
        return Err(usage("more than 10 agents match; say --yes if all of them are meant"));
    }
    terminal::err(&format!("run it on all {}? [y/N]", names.len()));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read the answer")?;
    if line.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(usage("left alone")) }
}

/// Shows what each run says and comes to, and gives the exit code of all of them. Those that wait for
/// agents which are not there are named, and not waited for.
pub async fn wait(door: std::sync::Arc<JobDoor>, ordered: RunsOrdered) -> anyhow::Result<u8> {
    let mut waiting: JoinSet<anyhow::Result<RunView>> = JoinSet::new();
    for view in ordered.runs {
        let door = std::sync::Arc::clone(&door);
        waiting.spawn(async move { ended(&door, view).await });
    }
    let mut codes: BTreeMap<u8, usize> = BTreeMap::new();
    while let Some(done) = waiting.join_next().await {
        let view = done.context("waiting broke off")??;
        let name = view.agent.clone().unwrap_or_default();
        let name = terminal::printable(&name).into_owned();
        if !view.run.state.is_final() {
            let reason = terminal::printable(view.run.reason()).into_owned();
            terminal::err(&format!("{name}: run {} waits: {reason}", ending::short(&view.run.id)));
            *codes.entry(ending::NO_OUTCOME).or_default() += 1;
            continue;
        }
        if view.delivered {
            show(&door, &name, &view.run).await?;
        }
        terminal::err(&format!("{name}: {}", ending::line(&view.run)));
        *codes.entry(ending::code(&view.run)).or_default() += 1;
    }
    let all: usize = codes.values().sum();
    let good = codes.get(&0).copied().unwrap_or_default();
    terminal::err(&format!("{good} of {all} succeeded"));
    Ok(match codes.keys().collect::<Vec<_>>()[..] {
        [one] => *one,
        _ => ending::PARTLY,
    })
}

async fn ended(door: &JobDoor, mut view: RunView) -> anyhow::Result<RunView> {
    loop {
        // One that goes out at once has no reason to wait.
        if view.run.state.is_final() || (!view.delivered && !view.run.reason().is_empty()) {
            return Ok(view);
        }
        let path = format!("/runs/{}/result?wait={}s", view.run.id, WAIT.as_secs());
        view = door.json("GET", &path, None, WAIT).await?;
    }
}

/// What it has said, each line under the name of its agent.
async fn show(door: &JobDoor, name: &str, run: &Run) -> anyhow::Result<()> {
    let (mut after, mut text) = (0, Vec::new());
    loop {
        let path = format!("/runs/{}/logs?after={after}", run.id);
        let (code, body) = door.ask("GET", &path, None, Duration::ZERO).await?;
        let rows: Vec<LogRow> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty() && code == 200)
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .context("what it said is of another version")?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        text.extend(rows.iter().flat_map(LogRow::bytes));
    }
    let text = String::from_utf8_lossy(&text);
    let lines: String = text.lines().map(|line| format!("{name}: {line}\n")).collect();
    if lines.is_empty() { Ok(()) } else { Ok(terminal::out(&lines)?) }
}
