//! Floods of output: the command is not held up, the agent does not grow, the disk is not filled,
//! every byte is counted, head and tail are there.

use fieldpost_bed::soaked;
use serde_json::json;

use super::Stage;

/// Bytes of one flood, and of one in `make soak`.
const FLOOD_BYTES: (u64, u64) = (32 << 20, 1 << 30);
/// An agent may grow so much under floods, kilobytes.
const GROWTH_KB_MAX: u64 = 16 << 10;

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn floods_are_bounded_and_counted() {
    let mut stage = Stage::with(&format!("{}jobs: {{head: 128K, tail: 512K}}\n", super::QUICK));
    let pid = stage.agent.process().pid();
    stage.ended(&stage.shell("true"));
    let before = resident_kb(pid);
    let n_bytes = soaked(FLOOD_BYTES.0, FLOOD_BYTES.1);
    let floods = [
        format!("yes 'a line of a flood' | head -c {n_bytes}"),
        format!("head -c {n_bytes} /dev/zero | tr '\\0' x"),
        format!("head -c {n_bytes} /dev/urandom >&2"),
    ];
    let ids: Vec<String> = floods.iter().map(|line| stage.shell(line)).collect();
    for id in &ids {
        let run = stage.ended(id);
        assert_eq!(run["state"], "succeeded", "{run}");
        let count = |name: &str| run["output"][name].as_u64().unwrap();
        assert_eq!(count("stdout_bytes") + count("stderr_bytes"), n_bytes);
        assert_eq!(count("kept_bytes") + count("dropped_bytes"), n_bytes);
        assert!(count("kept_bytes") >= (128 + 512 - 64) << 10, "{run}");
        assert_eq!(count("lost_bytes"), 0);
        let folder = stage.agent.store().join(format!("jobs/runs/{id}/1"));
        let on_disk: u64 =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk < 1 << 20, "{on_disk} bytes on disk");
    }
    let grown = resident_kb(pid).saturating_sub(before);
    assert!(grown <= GROWTH_KB_MAX, "the agent grew by {grown} kB");
    let said = stage.output(&ids[0]);
    assert!(said.starts_with(b"a line of a flood\na line"));
    let answer = stage.agent.api(&format!("/v1/runs/{}/logs?limit=1000", ids[0])).unwrap();
    let rows: Vec<serde_json::Value> =
        answer.ok().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let missing: u64 = rows.iter().filter_map(|row| row["missing_bytes"].as_u64()).sum();
    assert_eq!(missing, stage.run(&ids[0]).unwrap()["output"]["dropped_bytes"].as_u64().unwrap());
}

#[test]
fn bytes_that_are_no_text_come_back_as_they_were() {
    let stage = Stage::start();
    let id = stage.post(json!({ "shell": "printf 'a\\000\\377\\033[2Jb\\n'; printf 'caf\\303\\251' >&2" }));
    stage.ended(&id);
    let logs = stage.client(&["run", "logs", &id]);
    assert_eq!(logs.stdout, b"a\0\xff\x1b[2Jb\n");
    assert_eq!(logs.stderr, "caf\u{e9}".as_bytes());
}
