//! The runs of all agents at the hub: what was taken is there with its place, also after kill -9; what is
//! missing is told; copies are whole; files of earlier versions open.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldpost_model::hub_runs::{HubRuns, KnownRun, ResultWish, RunCursor, RunGap, RunWish};
use fieldpost_model::hub_state::{Audit, OrderState, Orders};
use fieldpost_model::job::{Cause, Job, Run, RunState};
use fieldpost_store::{SqliteHubRuns, SqliteHubState};
use rusqlite::Connection;

use crate::data::{START_MS, soak};

fn run(n: u64, state: RunState) -> Run {
    let job = Job { name: format!("job-{}", n % 3), domain: "d".into(), ..Job::default() };
    let mut run = Run::new(format!("run-{n:08}"), job, Cause::Asked, "uid 0".into(), START_MS + n as i64);
    if state != run.state {
        run.change(state, START_MS + n as i64 + 1, "");
    }
    run
}

fn cursor(version: u64) -> RunCursor {
    RunCursor { spool: "s".into(), version }
}

fn opened(folder: &std::path::Path) -> SqliteHubRuns {
    SqliteHubRuns::open(folder, START_MS).unwrap()
}

fn ids(runs: &dyn HubRuns, wish: RunWish) -> Vec<String> {
    let wish = RunWish { limit: 100, ..wish };
    runs.runs(&wish).unwrap().runs.into_iter().map(|known| known.run.id).collect()
}

#[test]
fn runs_are_found_forgotten_and_copied_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let runs = opened(folder.path());
    assert_eq!(runs.cursor("a").unwrap(), RunCursor::default());
    let taken: Vec<_> = (1..=4).map(|n| (n, run(n, RunState::Succeeded))).collect();
    runs.take("a", &cursor(4), &taken).unwrap();
    runs.take("b", &cursor(9), &[(9, run(1, RunState::Running))]).unwrap();
    let order =
        KnownRun { agent_id: String::new(), batch: "x".into(), version: 0, run: run(7, RunState::Queued) };
    runs.show_orders(std::slice::from_ref(&order)).unwrap();
    let going_on = RunWish { going_on: true, ..RunWish::default() };
    assert_eq!(runs.n_runs(&going_on, false).unwrap(), [("".into(), 1), ("b".into(), 1)].into());
    assert_eq!(runs.n_runs(&going_on, true).unwrap(), [("b".into(), 1)].into(), "nobody has told of it");
    // Its agent tells of it: what ordered it stays known, and what the agent says is believed.
    runs.take("b", &cursor(10), &[(10, run(7, RunState::Running))]).unwrap();
    runs.show_orders(&[KnownRun { agent_id: "b".into(), ..order }]).unwrap();
    let found = runs.find("run-00000007", None).unwrap();
    assert_eq!((found.len(), found[0].batch.as_str(), found[0].run.state), (1, "x", RunState::Running));
    assert_eq!(runs.find("00000001", None).unwrap().len(), 2, "ids are one agent's");
    assert_eq!(runs.find("00000001", Some("a")).unwrap().len(), 1);
    assert_eq!(ids(&runs, RunWish { job: Some("job-1".into()), ..RunWish::default() }).len(), 4);
    let first = runs.runs(&RunWish { limit: 2, ..RunWish::default() }).unwrap();
    let rest = ids(&runs, RunWish { after: first.next, ..RunWish::default() });
    assert_eq!((first.runs[0].run.id.as_str(), rest.len()), ("run-00000007", 4));
    assert!(runs.forget_run("a", "run-00000002").unwrap() && !runs.forget_run("a", "run-00000002").unwrap());
    let copy = tempfile::tempdir().unwrap();
    runs.backup(&copy.path().join("runs.db")).unwrap();
    assert_eq!(runs.forget(START_MS + 5, 100).unwrap(), 2, "ended before: 1 and 3");
    assert_eq!(ids(&runs, RunWish { agents: vec!["a".into()], ..RunWish::default() }), ["run-00000004"]);
    assert_eq!(runs.forget(0, 1).unwrap(), 1, "more than are kept");
    runs.forget_agent("b").unwrap();
    assert_eq!((ids(&runs, RunWish::default()).len(), runs.cursor("b").unwrap()), (0, RunCursor::default()));
    let copy = opened(copy.path());
    assert_eq!((ids(&copy, RunWish::default()).len(), copy.cursor("a").unwrap()), (5, cursor(4)));
}

/// Takes so many results of such runs, behind a place; answers ids and places.
fn taken(runs: &dyn HubRuns, wish: RunWish, behind: i64, lent_until_ms: Option<i64>) -> Vec<(String, i64)> {
    let wish = ResultWish { runs: wish, behind, lent_until_ms };
    let found = runs.take_results(&wish, START_MS).unwrap();
    found.results.into_iter().map(|(place, known)| (known.run.id, place)).collect()
}

#[test]
fn results_of_orders_are_given_once_and_what_is_lent_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let runs = opened(folder.path());
    let all = || RunWish { limit: 10, ..RunWish::default() };
    let order = |n, batch: &str| {
        let run = run(n, RunState::Queued);
        runs.show_orders(&[KnownRun { agent_id: "a".into(), batch: batch.into(), version: 0, run }]).unwrap();
    };
    (1..=5).for_each(|n| order(n, if n < 4 { "x" } else { "y" }));
    let tell = |version, run: Run| runs.take("a", &cursor(version), &[(version, run)]).unwrap();
    // It ends, nobody ordered it; one that was ordered only runs.
    tell(1, run(9, RunState::Succeeded));
    tell(2, run(1, RunState::Running));
    assert_eq!(taken(&runs, all(), 0, None), []);
    for (version, n) in [(3, 3), (4, 1), (5, 2), (6, 5), (7, 4)] {
        tell(version, run(n, RunState::Failed));
    }
    let ids = |found: Vec<(String, i64)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let named = |ids: &[u64]| ids.iter().map(|n| format!("run-{n:08}")).collect::<Vec<_>>();
    // In the order in which their ends were heard of, whatever is asked for.
    let wish = RunWish { batch: Some("y".into()), limit: 1, ..RunWish::default() };
    assert_eq!(ids(taken(&runs, wish, 0, None)), named(&[5]));
    assert_eq!(ids(taken(&runs, RunWish { ids: named(&[2, 4, 7]), ..all() }, 0, None)), named(&[2, 4]));
    assert_eq!(ids(taken(&runs, RunWish { job: Some("job-0".into()), ..all() }, 0, None)), named(&[3]));
    // It is told of again, as after the agent's numbering began anew: it was given.
    tell(8, run(3, RunState::Failed));
    let lent = taken(&runs, all(), 0, Some(START_MS + 5));
    assert_eq!(ids(lent.clone()), named(&[1]));
    assert_eq!(taken(&runs, all(), 0, None), [], "it is lent");
    drop(runs);
    let runs = opened(folder.path());
    let wish = ResultWish { runs: all(), behind: lent[0].1, lent_until_ms: Some(START_MS + 20) };
    let back = runs.take_results(&wish, START_MS + 5).unwrap();
    assert_eq!(back.results.len(), 1, "nobody settled it: it is new to who has looked so far");
    let place = back.results[0].0;
    let settled = runs.settle_results(&[lent[0].1, place], START_MS + 6).unwrap();
    assert_eq!(settled, [lent[0].1], "that was too late");
    assert_eq!(runs.take_results(&wish, START_MS + 90).unwrap().results, []);
    // What is tried again belongs to the order of what was tried, and what is forgotten waits no more.
    let retry = |n: u64| {
        let mut run = run(n, RunState::Succeeded);
        run.cause = Cause::Retry { of: "run-00000001".into(), number: 1 };
        run
    };
    for n in [20, 21] {
        runs.take("a", &cursor(n), &[(n, retry(n))]).unwrap();
    }
    assert!(runs.forget_run("a", "run-00000020").unwrap());
    assert_eq!(ids(taken(&runs, RunWish { batch: Some("x".into()), ..all() }, 0, None)), named(&[21]));
}

#[test]
fn what_is_missing_is_told_once_however_often_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let runs = opened(folder.path());
    let gap = |version, n_runs| RunGap { version, n_runs, at_most: false, from_ms: 10, to_ms: 20 };
    let told = |agents: &[String]| -> Vec<u64> {
        runs.gaps(agents, 15, 10).unwrap().into_iter().map(|known| known.gap.n_runs).collect()
    };
    runs.take_gap("a", &cursor(0), Some(&gap(5, 3)), START_MS).unwrap();
    // The place was not passed: it is said again, and may be more by then.
    runs.take_gap("a", &cursor(0), Some(&gap(6, 4)), START_MS).unwrap();
    assert_eq!(told(&[]), [4]);
    runs.take_gap("a", &cursor(6), None, START_MS).unwrap();
    runs.take_gap("a", &cursor(6), Some(&gap(9, 1)), START_MS).unwrap();
    assert_eq!((told(&["a".into()]).len(), told(&["b".into()]).len()), (2, 0));
    runs.take_gap("a", &cursor(6), None, START_MS).unwrap();
    assert_eq!(told(&[]), [4], "what was not passed and is said no more was no gap");
    runs.forget(21, 100).unwrap();
    assert_eq!(told(&[]).len(), 0);
}

#[test]
fn version_1_opens_with_all_that_is_in_it_and_damage_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/1/runs.sql")).unwrap();
    let runs = opened(folder.path());
    assert_eq!(runs.cursor("a").unwrap(), RunCursor { spool: "s".into(), version: 7 });
    let found = runs.find("00000001", None).unwrap();
    assert_eq!((found.len(), found[0].run.state, found[0].version), (1, RunState::Failed, 7));
    assert_eq!(found[0].run.changes.last().unwrap().reason, "exit 3");
    assert_eq!(runs.tasks(Some("a")).unwrap()[0].1, 1_795_219_200_000);
    runs.take_gap("a", &cursor(7), Some(&RunGap { version: 8, n_runs: 1, ..RunGap::default() }), 1).unwrap();
    let wish = RunWish { limit: 9, ..RunWish::default() };
    assert_eq!(taken(&runs, wish, 0, None), [], "nobody waits for what was over before there was a queue");
    drop(runs);
    let new = tempfile::tempdir().unwrap();
    drop(opened(new.path()));
    let schema = |path: &std::path::Path| -> Vec<String> {
        let connection = Connection::open(path.join("runs.db")).unwrap();
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(schema(folder.path()), schema(new.path()));
    std::fs::write(&path, [7; 9_000]).unwrap();
    assert_eq!(opened(folder.path()).cursor("a").unwrap(), RunCursor::default(), "agents are asked anew");
}

/// Runs the example `run_taker` from this change on and kills it after a while; answers the newest change
/// that it has acknowledged.
fn take_and_kill(folder: &std::path::Path, pause: Duration) -> u64 {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let mut command = Command::new(path.join("examples/run_taker"));
    let spawned = command.arg(folder).stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("the example `run_taker` is built with the tests");
    let output = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let last = output.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()).last();
    killer.join().unwrap();
    last.unwrap_or(0)
}

/// What was acknowledged is delivered and holds no secrets; of the rest at most one is under way.
fn assert_orders(folder: &std::path::Path, acknowledged: u64) {
    let state = SqliteHubState::open(folder).unwrap();
    for n in acknowledged.saturating_sub(20).max(1)..=acknowledged {
        let order = state.order(&format!("order-{n}")).unwrap().unwrap();
        assert_eq!((order.state, order.sealed.len()), (OrderState::Delivered, 0), "{n}");
    }
    let open = state.undelivered_orders(true).unwrap();
    assert!(open.len() <= 1, "{open:?}");
    let verdict = state.verify_audit(None).unwrap();
    assert_eq!(verdict.fault, None);
}

#[test]
fn killed_at_any_instant_a_place_is_never_ahead_of_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for n in 0..6 * soak() {
        acknowledged =
            take_and_kill(folder.path(), Duration::from_millis(20 + 17 * n % 60)).max(acknowledged);
        assert_orders(folder.path(), acknowledged);
        let runs = opened(folder.path());
        let place = runs.cursor("a").unwrap().version;
        assert!(place >= acknowledged, "{acknowledged} was acknowledged, {place} is there");
        let wish = RunWish { limit: 1_000_000, ..RunWish::default() };
        let found = runs.runs(&wish).unwrap().runs;
        // Each run has the number of its newest change.
        let newest: Vec<u64> = found.iter().map(|known| known.version).collect();
        assert_eq!(newest.len() as u64, place.min(50), "one for each of fifty ids");
        assert!(
            newest.iter().all(|version| *version + 50 > place && *version <= place),
            "{place}: {newest:?}"
        );
    }
    assert!(acknowledged > 0, "nothing was taken before any kill");
}
