//! The wall clock jumps under a running agent: slots go on, none runs twice, those that were jumped over
//! are on record.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use fieldpost_bed::{TurnedClock, wait_for};
use serde_json::Value;

use super::{Stage, n_lines};

/// Four hundred days, seconds.
const JUMP: i64 = 400 * 86_400;

#[test]
fn slots_go_on_whatever_the_clock_does() {
    let clock = TurnedClock::new().unwrap();
    let environment = clock.environment();
    let environment: Vec<(&str, &OsStr)> =
        environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let stage = Stage::with_jobs("jobs: []\n", &environment);
    let folder = stage.folder();
    let file = stage.agent.config_dir().join("jobs.d/10-test.yaml");
    let line = "shell: 'echo $FIELDPOST_SLOT_MS >> slots'";
    let text = format!(
        "jobs:\n- {{name: beat, {line}, every: 1s, dir: {0}}}\n- {{name: dawn, shell: 'echo x >> dawn', cron: '0 6 * * *', tz: Europe/Berlin, catch_up: last, dir: {0}}}\n",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    assert!(stage.client(&["agent", "--reload"]).status.success());
    let slots = folder.join("slots");
    for jump in [0, JUMP, 0, -JUMP, 0] {
        let before = n_lines(&slots);
        clock.turn(jump).unwrap();
        wait_for(&format!("slots with the clock at {jump:+} s"), || {
            (n_lines(&slots) >= before + 2).then_some(())
        })
        .unwrap();
    }
    stage.client(&["job", "disable", "beat"]);
    let all = std::fs::read_to_string(&slots).unwrap();
    let all: Vec<i64> = all.lines().map(|line| line.parse().unwrap()).collect();
    let spans: BTreeSet<i64> = all.iter().map(|slot| slot / 1_000 / (JUMP / 2)).collect();
    assert!(spans.len() >= 3, "slots of three times: {all:?}");
    let missed = |run: &Value| {
        run["changes"][1]["reason"]
            .as_str()
            .and_then(|reason| reason.strip_prefix("missed ")?.split(' ').next()?.parse::<i64>().ok())
    };
    let n_missed: Vec<i64> = stage.runs_of("beat").iter().filter_map(missed).collect();
    assert!(n_missed.iter().any(|n| *n > JUMP - 60), "what was jumped over is one record: {n_missed:?}");
    assert!(stage.runs_of("beat").len() < 100, "the jump stormed");
    // Of four hundred mornings the newest is made up for; after the clock was set back it begins anew.
    wait_for("a morning", || (n_lines(&folder.join("dawn")) >= 1).then_some(())).unwrap();
    assert!(n_lines(&folder.join("dawn")) <= 4, "mornings that were dealt with ran again");
}
