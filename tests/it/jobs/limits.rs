//! Limits, and who enforces them; secrets, and where they are not.

use serde_json::json;

use super::Stage;
use super::kills::code;

#[test]
fn limits_hold_or_are_said_not_to() {
    let stage = Stage::start();
    let hog = stage.post(json!({ "command": "tail", "args": ["/dev/zero"], "limits": { "memory": "64M" } }));
    let own = json!({ "nofile": 77, "file_size": "64K", "nice": 7, "cores": "0" });
    let line = "ulimit -n; nice; dd if=/dev/zero of=big bs=1k count=100 2>/dev/null; echo $?";
    let folder = stage.folder();
    let own = stage.post(json!({ "shell": line, "dir": folder, "limits": own }));
    let run = stage.ended(&own);
    let said = String::from_utf8(stage.output(&own)).unwrap();
    assert!(said.starts_with("77\n7\n"), "{said}");
    assert_eq!(std::fs::metadata(folder.join("big")).unwrap().len(), 64 << 10);
    assert!(run["limits"].as_array().unwrap().iter().all(|limit| limit["by"].is_string()), "{run}");
    let run = stage.ended(&hog);
    let memory = &run["limits"][0];
    if memory["by"].is_string() {
        assert_eq!((run["state"].as_str(), code(&run)), (Some("killed"), 137), "{run}");
        assert!(run["usage"]["oom_kills"].as_u64().unwrap() > 0);
    } else {
        assert!(!memory["reason"].as_str().unwrap().is_empty());
    }
    let wish = json!({ "cores": "4000" });
    let refused = stage.post(json!({ "command": "true", "limits": wish, "limits_required": true }));
    let run = stage.ended(&refused);
    assert_eq!(run["state"], "refused", "{run}");
    assert_eq!(stage.output(&refused), b"");
}

#[test]
fn bombs_end_at_their_limit_and_leave_nothing() {
    let stage = Stage::start();
    let line = "while :; do setsid sleep 661 & done";
    let limits = json!({ "pids": 64 });
    let bomb =
        stage.post(json!({ "shell": line, "limits": limits, "limits_required": true, "timeout": "30s" }));
    let run = stage.ended(&bomb);
    // Where nothing counts processes it is refused, which is as good an end.
    assert!(["failed", "refused"].contains(&run["state"].as_str().unwrap()), "{run}");
    let is_left = |pid: u32| {
        let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text == b"sleep\x00661\x00" && super::is_alive(pid)
    };
    assert!(!super::processes().into_iter().any(is_left), "survivors");
}

#[test]
fn secrets_are_nowhere_in_clear() {
    const SECRET: &str = "canary-5f1ce09a-q8ZVb";
    let stage = Stage::start();
    let line = "echo \"it is $WORD.\"; printf %s \"$WORD\" | tee -a /dev/null; test \"$WORD\" = \"$EXPECTED_$0\" || true; \
                cat /proc/$PPID/cmdline; sleep 0.3; exit $(printf %s \"$WORD\" | wc -c)";
    let request = json!({ "job": { "shell": line, "name": "s" }, "secrets": { "WORD": SECRET } });
    let id = stage.try_post(&request).unwrap();
    stage.running(&id);
    for pid in super::processes() {
        let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(SECRET), "in the command line of {pid}");
    }
    let run = stage.ended(&id);
    assert_eq!(code(&run), SECRET.len() as i64, "the command did not get it");
    assert!(!run.to_string().contains(SECRET) && run["secret_names"][0] == "WORD");
    let said = String::from_utf8(stage.output(&id)).unwrap();
    assert!(said.starts_with("it is ******.\n******"), "{said}");
    let mut waiting = vec![stage.agent.store()];
    let mut n_files = 0;
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                n_files += 1;
                let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!found, "in {}", path.display());
            }
        }
    }
    assert!(n_files > 3);
}

#[test]
fn secrets_of_runs_that_wait_outlive_the_agent_sealed() {
    const SECRET: &str = "canary-3c9a71d0-Kx2w";
    let mut stage = Stage::start();
    let first = stage.post(json!({ "command": "sleep", "args": ["600"], "queue": { "name": "q" } }));
    stage.running(&first);
    let job = json!({ "shell": "exit $(printf %s \"$WORD\" | wc -c)", "queue": { "name": "q" } });
    let waits = stage.try_post(&json!({ "job": job, "secrets": { "WORD": SECRET } })).unwrap();
    for file in ["jobs.db", "jobs.db-wal"] {
        let bytes = std::fs::read(stage.agent.store().join("jobs").join(file)).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "in {file}");
    }
    stage.again();
    stage.kill(&first);
    assert_eq!(code(&stage.ended(&waits)), SECRET.len() as i64, "it ran without its secret");
}

#[test]
fn what_runs_cost_is_sampled_and_told_as_series() {
    let stage = Stage::start();
    let line = "sleep 600 & i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); done; sleep 600";
    let id = stage.post(json!({ "name": "busy", "domain": "d", "shell": line }));
    let stats = fieldpost_bed::wait_for("samples", || {
        let answer = stage.agent.api(&format!("/v1/runs/{id}/stats")).ok()?;
        let stats: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        let newest = stats["samples"].as_array()?.last()?.clone();
        let is_busy = newest["cpu_seconds"].as_f64()? > 0.1 && newest["processes"].as_u64()? >= 2;
        is_busy.then_some(stats)
    });
    let stats = stats.unwrap();
    assert!(stats["usage"]["memory_peak_bytes"].as_u64().unwrap() > 100_000);
    let newest = stats["samples"].as_array().unwrap().last().unwrap()["time_ms"].as_i64().unwrap();
    let behind = fieldpost_bed::wait_for("a sample behind those", || {
        let answer = stage.agent.api(&format!("/v1/runs/{id}/stats?after={newest}&intervals=0")).ok()?;
        let stats: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        stats["samples"].as_array().filter(|samples| !samples.is_empty()).cloned()
    });
    assert!(behind.unwrap().iter().all(|sample| sample["time_ms"].as_i64().unwrap() > newest));
    stage.kill(&id);
    let run = stage.ended(&id);
    assert!(run["usage"]["processes_max"].as_u64().unwrap() >= 2, "{run}");
    assert!(run["usage"]["cpu_user_seconds"].as_f64().unwrap() > 0.1, "{run}");
    let told = "echo '10::rows:5|c'; echo '10::rows:7|c'; echo '10::depth:3|g'; echo '10::query:250|ms'";
    let fine = stage.ended(&stage.post(json!({ "name": "fine", "shell": told, "output": "levels" })));
    assert_eq!(
        (fine["stats"]["rows"]["sum"].as_f64(), fine["stats"]["depth"]["last"].as_f64()),
        (Some(12.0), Some(3.0))
    );
    let page = stage.agent.page().unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels);
    let busy = [("domain", "d"), ("name", "busy")];
    assert_eq!(value("fieldpost_job_runs_total", &[busy[0], busy[1], ("state", "killed")]), Some(1.0));
    assert!(value("fieldpost_job_cpu_seconds_total", &busy).unwrap() > 0.1);
    assert_eq!(value("fieldpost_job_last_success_timestamp_seconds", &busy), None);
    let fine = [("domain", ""), ("name", "fine")];
    assert!(value("fieldpost_job_last_success_timestamp_seconds", &fine).unwrap() > 1.6e9);
    let of_key = |name: &str, key| value(name, &[fine[0], ("key", key), fine[1]]);
    assert_eq!(of_key("fieldpost_job_count_total", "rows"), Some(12.0));
    assert_eq!(of_key("fieldpost_job_value", "depth"), Some(3.0));
    assert_eq!(of_key("fieldpost_job_timed_seconds_total", "query"), Some(0.25));
    assert_eq!(value("fieldpost_runs_live", &[]), Some(0.0));
}

#[test]
fn what_a_run_tells_of_itself_counts_while_it_goes_on_and_by_spans_of_the_clock() {
    let stage = Stage::start();
    let line = "i=0; while [ ! -e go ]; do i=$((i+1)); echo '10::rows:1|c'; echo '10::depth:+2|g'; echo 7::hm; sleep 0.1; done";
    let job = json!({
        "name": "teller", "shell": line, "output": "levels", "stats_interval": "1s", "dir": stage.folder(),
        "loglevels_store": "10", "loglevels": "7,10",
    });
    let id = stage.post(job);
    let labels = [("domain", ""), ("key", "rows"), ("name", "teller")];
    let counted =
        || stage.agent.page().ok()?.value("fieldpost_job_count_total", &labels).filter(|rows| *rows > 3.0);
    let live = fieldpost_bed::wait_for("a count of a live run", counted).unwrap();
    assert_eq!(stage.state(&id).unwrap(), "running");
    std::fs::write(stage.folder().join("go"), "").unwrap();
    let run = stage.ended(&id);
    let rows = run["stats"]["rows"]["sum"].as_f64().unwrap();
    assert!(rows >= live, "{rows} in the end, {live} before");
    // A page is kept for a moment.
    let in_the_end = || counted().filter(|counted| *counted >= rows);
    assert_eq!(fieldpost_bed::wait_for("the whole count", in_the_end).unwrap(), rows, "counted once");
    let asked = |query: &str| -> serde_json::Value {
        let answer = stage.agent.api(&format!("/v1/runs/{id}/stats{query}")).unwrap();
        serde_json::from_str(answer.ok().unwrap()).unwrap()
    };
    let stats = asked("");
    let fewer = |n: usize| asked(&format!("?intervals={n}"))["intervals"].as_array().unwrap().len();
    assert_eq!([fewer(0), fewer(1)], [0, 1]);
    assert_eq!(
        asked("?intervals=1")["intervals"][0],
        *stats["intervals"].as_array().unwrap().last().unwrap()
    );
    let intervals = stats["intervals"].as_array().unwrap();
    let sum = |key: &str| -> f64 {
        intervals.iter().filter_map(|interval| interval["values"][key]["sum"].as_f64()).sum()
    };
    assert!(
        intervals.len() >= 2 && intervals.iter().all(|one| one["from_ms"].as_i64().unwrap() % 1_000 == 0)
    );
    assert_eq!(sum("rows"), rows, "spans together are the whole: {stats}");
    assert!(intervals.iter().any(|one| one["values"]["memory_bytes"]["p95"].is_f64()), "{stats}");
    assert_eq!(run["stats"]["depth"]["last"].as_f64(), Some(2.0 * rows), "changes go on over spans");
    let said = String::from_utf8(stage.output(&id)).unwrap();
    assert!(said.contains("rows:1|c") && !said.contains("hm"), "only what is to be stored is");
    let shown = String::from_utf8(stage.client(&["run", "stats", &id]).stdout).unwrap();
    assert!(shown.contains("rows") && shown.contains("MEAN"), "{shown}");
}
