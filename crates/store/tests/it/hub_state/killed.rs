//! kill -9 while tokens are made and agents enrolled: each token is usable, or its agent is made.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldpost_model::hub_state::{EnrolRefusal, HubState};

use super::{Hub, enrol, new_agent};
use crate::data::START_MS;

/// Runs the example `enroller` from this number on and kills it after a while; answers how many
/// tokens and how many agents it acknowledged in all.
fn run_and_kill(hub: &Hub, first: u64, pause: Duration) -> (u64, u64) {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let mut command = Command::new(path.join("examples/enroller"));
    command.arg(hub.folder.path()).args([first.to_string(), "1000000".to_owned()]);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("the example `enroller` is built with the tests");
    let output = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let (mut n_tokens, mut n_agents) = (first, first);
    for line in output.lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap() {
            ("token", n) => n_tokens = n.parse::<u64>().unwrap() + 1,
            (_, n) => n_agents = n.parse::<u64>().unwrap() + 1,
        }
    }
    killer.join().unwrap();
    (n_tokens, n_agents)
}

/// What was cut off is finished by asking again, and then nothing is there twice.
fn finish(state: &dyn HubState, n: u64, n_tokens: u64) -> u64 {
    let (secret, agent) = (format!("token {n}"), new_agent(n, "host"));
    match enrol(state, &secret, agent.clone(), START_MS) {
        Err(EnrolRefusal::UnknownToken) => {
            assert!(n_tokens <= n, "token {n} was acknowledged and is gone");
            n
        }
        answer => {
            let first = answer.unwrap().agent;
            let second = enrol(state, &secret, agent, START_MS).unwrap();
            assert!(second.repeated && second.agent.name == first.name, "{second:?}");
            n + 1
        }
    }
}

#[test]
fn killed_at_any_instant_a_token_is_usable_or_its_agent_is_made() {
    let n_kills: u64 = 25 * crate::data::soak();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed | 1;
    let hub = Hub::new();
    let mut next = 0;
    for _ in 0..n_kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (n_tokens, n_agents) = run_and_kill(&hub, next, Duration::from_millis(5 + random % 80));
        let state: &dyn HubState = &hub.open();
        next = finish(state, n_agents, n_tokens);
        let agents = state.agents().unwrap();
        assert_eq!(agents.len() as u64, next, "seed {seed}");
        let tokens = state.join_tokens().unwrap();
        assert!(tokens.len() as u64 == next && tokens.iter().all(|token| token.uses == 1), "seed {seed}");
        let verdict = state.verify_audit(None).unwrap();
        assert_eq!(verdict.fault, None, "seed {seed}");
    }
    eprintln!("{n_kills} kills, {next} agents, seed {seed}");
    assert!(next > 0, "nobody was enrolled before any kill");
}
