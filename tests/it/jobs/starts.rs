//! The start of a run: at most once, whatever dies meanwhile and however often it is asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use fieldpost_bed::{Random, soaked, unix_send};
use serde_json::json;

use super::{Stage, n_lines, processes, signal, stat};

/// Kills during starts, and those of `make soak`.
const N_KILLS: (u64, u64) = (15, 240);
/// Runs that are asked for before each.
const N_RUNS: usize = 6;
/// The latest instant of a kill after the first was asked for, microseconds.
const KILL_AFTER_MICROS_MAX: u64 = 40_000;
/// Requests for one and the same run, and those of `make soak`.
const N_SAME: (u64, u64) = (64, 1_000);

/// Shims that are at work for this agent.
fn shims(store: &Path) -> Vec<u32> {
    let runs = store.join("jobs/runs");
    let is_shim =
        |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&runs));
    processes().into_iter().filter(is_shim).collect()
}

#[test]
fn command_begins_at_most_once_whoever_is_killed() {
    let mut stage = Stage::start();
    let folder = stage.folder();
    let store = stage.agent.store().canonicalize().unwrap();
    let mut random = Random::seeded();
    let accepted = Mutex::new(BTreeSet::new());
    let mut all = Vec::new();
    let mut n_shims_killed = 0;
    for round in 0..soaked(N_KILLS.0, N_KILLS.1) {
        let ids: Vec<String> = (0..N_RUNS).map(|number| format!("r{round}-{number}")).collect();
        let kills_shim = random.below(3) == 0;
        let wait = Duration::from_micros(random.below(KILL_AFTER_MICROS_MAX));
        std::thread::scope(|scope| {
            stage.ask_for_all(&ids, &accepted, scope);
            std::thread::sleep(wait);
            if kills_shim {
                for pid in shims(&store) {
                    signal(pid, rustix::process::Signal::KILL);
                    n_shims_killed += 1;
                }
            }
            stage.agent.kill().unwrap();
        });
        stage.agent.start_again().unwrap();
        all.extend(ids);
    }
    let accepted = accepted.into_inner().unwrap();
    let (mut n_restarted, mut n_lost) = (0, 0);
    for id in &all {
        let n_began = n_lines(&folder.join(id));
        if stage.run(id).is_err() {
            assert!(!accepted.contains(id), "{id} was accepted and forgotten");
            assert_eq!(n_began, 0, "{id} ran, and nobody knows of it");
            continue;
        }
        let run = stage.ended(id);
        n_restarted += usize::from(run["attempt"] != 1);
        let n_began = n_lines(&folder.join(id));
        match run["state"].as_str() {
            Some("succeeded") => assert_eq!(n_began, 1, "{run}"),
            Some("lost" | "failed") => {
                n_lost += 1;
                assert!(n_shims_killed > 0 && n_began <= 1, "{run}");
            }
            _ => panic!("{run}"),
        }
    }
    println!(
        "{} runs, {n_restarted} begun by a later agent, {n_shims_killed} shims killed, {n_lost} lost",
        all.len()
    );
}

#[test]
fn same_run_asked_for_many_times_is_one_run() {
    let stage = Stage::start();
    let folder = stage.folder();
    let body =
        json!({ "id": "same", "job": { "shell": "echo x >> mark; sleep 0.2", "dir": folder } }).to_string();
    let statuses = Mutex::new(Vec::new());
    let socket = stage.agent.socket();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..soaked(N_SAME.0, N_SAME.1) / 8 {
                    let answer = unix_send(&socket, "POST", "/v1/runs", &body).unwrap();
                    statuses.lock().unwrap().push(answer.status);
                }
            });
        }
    });
    assert_eq!(stage.ended("same")["state"], "succeeded");
    let again = unix_send(&socket, "POST", "/v1/runs", &body).unwrap();
    assert_eq!(again.status, 409, "{}", String::from_utf8_lossy(&again.body));
    let statuses = statuses.into_inner().unwrap();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    assert_eq!(n_lines(&folder.join("mark")), 1);
}

#[test]
fn many_short_runs_leave_nothing() {
    let mut stage = Stage::start();
    let pid = stage.agent.process().pid();
    // Files of databases, and others: beside files of processes and units that are there, for the sampler keeps
    // them open, and they come and go with those of others.
    let n_open = || {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let names = targets.map(|target| target.to_string_lossy().into_owned());
        let is_of_others = |name: &String| {
            ["/proc/", "/sys/"].iter().any(|root| name.starts_with(root)) && !name.ends_with("(deleted)")
        };
        let (databases, rest): (Vec<String>, Vec<String>) =
            names.filter(|name| !is_of_others(name)).partition(|name| name.contains(".db"));
        [databases.len(), rest.len()]
    };
    let run_some = |n: usize| {
        let socket = stage.agent.socket();
        let ids = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..n / 8 {
                        let body = json!({ "job": { "command": "true" } }).to_string();
                        let answer = unix_send(&socket, "POST", "/v1/runs", &body).unwrap();
                        let run: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                        ids.lock().unwrap().push(run["id"].as_str().unwrap().to_owned());
                    }
                });
            }
        });
        for id in ids.into_inner().unwrap() {
            assert_eq!(stage.ended(&id)["state"], "succeeded");
        }
    };
    run_some(64);
    let before = n_open();
    run_some(usize::try_from(soaked(240, 10_000)).unwrap());
    // Connections to databases are kept for the next question, some more if many ask at a time: each has three
    // files. What a run left open would be hundreds.
    let most = [before[0] + 12, before[1] + 4];
    let is_bounded = || n_open().iter().zip(most).all(|(open, most)| *open <= most);
    let after = fieldpost_bed::wait_for("descriptors closed", || is_bounded().then_some(()));
    after.unwrap_or_else(|error| panic!("{before:?} descriptors before, {:?} after: {error}", n_open()));
    let zombies: Vec<u32> =
        processes().into_iter().filter(|other| stat(*other).is_some_and(|stat| stat == ('Z', pid))).collect();
    assert_eq!(zombies, [0; 0]);
    assert!(shims(&stage.agent.store().canonicalize().unwrap()).is_empty());
}

/// The keeper of an agent, once there is one.
fn keeper(agent: u32) -> u32 {
    let is_keeper = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "fieldpost-keep"
            && stat(*pid).is_some_and(|(state, parent)| state != 'Z' && parent == agent)
    };
    fieldpost_bed::wait_for("a keeper", || processes().into_iter().find(is_keeper)).unwrap()
}

#[test]
fn runs_outlive_their_keeper_and_begin_once_without_it() {
    let mut stage = Stage::start();
    let agent = stage.agent.process().pid();
    let folder = stage.folder();
    let lives =
        stage.post(json!({ "shell": "while [ ! -e go ]; do sleep 0.05; done; exit 7", "dir": folder }));
    let pid = stage.running(&lives)["pid"].as_u64().unwrap() as u32;
    let first = keeper(agent);
    let own = |kind: &str| {
        let shim = stat(pid).unwrap().1;
        let text = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim_end_matches(" kB").trim().parse::<u64>().unwrap()
    };
    assert!(own("Anonymous:") < 1_024, "a shim has {} kB of its own", own("Anonymous:"));
    signal(first, rustix::process::Signal::KILL);
    fieldpost_bed::wait_for("its end", || (!super::is_alive(first)).then_some(())).unwrap();
    let mark = |name: &str| json!({ "shell": format!("echo x >> {name}"), "dir": folder });
    assert_eq!(stage.ended(&stage.post(mark("a")))["state"], "succeeded");
    // One that hangs may have forked or not: the folder of the run tells, and it begins once.
    let second = keeper(agent);
    assert_ne!(first, second);
    signal(second, rustix::process::Signal::STOP);
    let run = stage.ended(&stage.post(mark("b")));
    assert_eq!((&run["state"], &run["attempt"]), (&json!("succeeded"), &json!(2)), "{run}");
    for name in ["a", "b"] {
        assert_eq!(n_lines(&folder.join(name)), 1, "{name}");
    }
    std::fs::write(folder.join("go"), "").unwrap();
    assert_eq!(super::kills::code(&stage.ended(&lives)), 7);
    let third = keeper(agent);
    stage.agent.kill().unwrap();
    fieldpost_bed::wait_for("end of the keeper with its agent", || (!super::is_alive(third)).then_some(()))
        .unwrap();
    stage.agent.start_again().unwrap();
}
