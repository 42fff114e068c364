//! The end of a run: by itself, by its time, by somebody's wish, by the death of its shim; and
//! nothing of it is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use fieldpost_bed::{HangingMount, soaked, wait_for};
use serde_json::{Value, json};

use super::kills::code;
use super::{Stage, is_alive, processes, signal, stat};

fn reason(run: &Value) -> String {
    run["changes"].as_array().unwrap().last().unwrap()["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn time_limits_hold_against_those_who_do_not_listen() {
    let mut stage = Stage::start();
    let limits = json!({ "timeout": "600ms", "kill_grace": "300ms" });
    let with = |line: &str| {
        let mut job = limits.clone();
        job["shell"] = json!(line);
        stage.post(job)
    };
    let ignores = with("trap '' TERM; while :; do sleep 0.1; done");
    let stopped = with("kill -STOP $$");
    let obeys = with("trap 'exit 3' TERM; while :; do sleep 0.1; done");
    let silent =
        stage.post(json!({ "shell": "echo a; sleep 600", "output_timeout": "500ms", "kill_grace": "300ms" }));
    let escaped = with("setsid sh -c 'trap \"\" TERM; sleep 611' & sleep 612");
    for id in [&ignores, &stopped, &obeys, &silent, &escaped] {
        stage.running(id);
    }
    // Time goes on where there is no agent.
    stage.agent.kill().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    stage.agent.start_again().unwrap();
    for id in [&ignores, &stopped, &obeys, &escaped] {
        let run = stage.ended(id);
        assert_eq!(run["state"], "timed_out", "{run}");
        assert_eq!(reason(&run), "over its time of 600ms");
        assert!(run["changes"].as_array().unwrap().iter().any(|change| change["state"] == "stopping"));
    }
    assert_eq!(code(&stage.run(&ignores).unwrap()), 128 + 9);
    assert_eq!(code(&stage.run(&obeys).unwrap()), 3);
    let run = stage.ended(&silent);
    assert_eq!((run["state"].as_str(), reason(&run).as_str()), (Some("timed_out"), "silent for 500ms"));
    assert!(!is_running("sleep 611"), "an escapee outlived its run");
}

/// Does any process have this command line?
fn is_running(line: &str) -> bool {
    processes().into_iter().any(|pid| {
        let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&text).replace('\0', " ").trim() == line && is_alive(pid)
    })
}

#[test]
fn kills_are_answered_plainly_whatever_they_hit() {
    let stage = Stage::start();
    let job = |seconds: &str| json!({ "command": "sleep", "args": [seconds], "queue": { "name": "q" }, "kill_grace": "10s" });
    let first =
        stage.post(json!({ "shell": "trap '' TERM; sleep 621 & wait; sleep 1", "queue": { "name": "q" } }));
    stage.running(&first);
    let waits = stage.post(job("600"));
    assert_eq!(stage.run(&waits).unwrap()["position"], 1);
    let told = |response: fieldpost_bed::Response| {
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        (response.status, answer["done"].as_str().or(answer["code"].as_str()).unwrap_or_default().to_owned())
    };
    assert_eq!(told(stage.kill(&waits)), (200, "called_off".into()));
    assert_eq!(stage.ended(&waits)["state"], "cancelled");
    assert_eq!(told(stage.kill(&waits)), (409, "run_over".into()));
    assert_eq!(told(stage.kill(&first)), (200, "asked".into()));
    assert_eq!(told(stage.kill(&first)), (200, "already".into()));
    let hard = stage.send("POST", &format!("/v1/runs/{first}/kill"), &json!({ "signal": "KILL" })).unwrap();
    assert_eq!(told(hard), (200, "asked".into()));
    let run = stage.ended(&first);
    assert_eq!((run["state"].as_str(), code(&run)), (Some("killed"), 128 + 9));
    assert!(reason(&run).starts_with("asked by uid "), "{run}");
    assert!(!is_running("sleep 621"));
    assert_eq!(told(stage.kill("nosuch")), (404, "no_such_run".into()));
    let signalled = stage.shell("trap 'echo heard' USR1; echo up; while :; do sleep 0.05; done");
    wait_for("first words", || (stage.output(&signalled) == b"up\n").then_some(())).unwrap();
    stage.send("POST", &format!("/v1/runs/{signalled}/kill"), &json!({ "signal": "USR1" })).unwrap();
    wait_for("answer", || (stage.output(&signalled) == b"up\nheard\n").then_some(())).unwrap();
    assert_eq!(stage.state(&signalled).unwrap(), "running", "a signal is no end");
    stage.kill(&signalled);
    assert_eq!(stage.ended(&signalled)["state"], "killed");
}

#[test]
fn what_a_command_leaves_behind_goes_with_it() {
    let stage = Stage::start();
    // Twice forked, in a session of its own, with its output closed: the way of daemons.
    let line = "(setsid sh -c 'exec >/dev/null 2>&1; sleep 631 & sleep 632' &); echo done";
    let ids: Vec<String> = (0..soaked(8, 1_000)).map(|_| stage.shell(line)).collect();
    for id in ids {
        let run = stage.ended(&id);
        assert_eq!((run["state"].as_str(), code(&run)), (Some("succeeded"), 0), "{run}");
        assert_eq!(run["marks"][0], "left processes behind, which were ended");
        assert_eq!(stage.output(&id), b"done\n");
    }
    assert!(!is_running("sleep 631") && !is_running("sleep 632"), "survivors");
}

#[test]
fn what_the_kernel_holds_is_waited_for_and_holds_up_nothing_else() {
    let stage = Stage::start();
    let folder = tempfile::Builder::new().prefix("fieldpost-hang").tempdir_in("/dev/shm").unwrap();
    let mount = HangingMount::new(folder.path()).unwrap();
    let job = json!({
        "command": "stat", "args": ["-f", folder.path()], "timeout": "300ms", "kill_grace": "200ms",
    });
    let held = stage.post(job);
    wait_for("a process that sleeps", || (mount.n_asked() > 0).then_some(())).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let other = stage.ended(&stage.shell("echo fine"));
    assert_eq!(other["state"], "succeeded", "one that hangs holds up no other");
    assert!(stage.run(&held).unwrap()["ended_ms"].is_null(), "killed is not over");
    assert_eq!(stage.kill(&held).status, 200);
    mount.answer();
    let run = stage.ended(&held);
    // Both signals wait for it when it wakes; either may be said to be its end.
    assert!(run["state"] == "timed_out" && [128 + 9, 128 + 15].contains(&code(&run)), "{run}");
}

/// Reads one request and answers it so; gives the head and the body.
fn receive(listener: &TcpListener, answer: &str) -> (String, Value) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    reader.get_mut().write_all(text.as_bytes()).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[test]
fn whoever_wants_to_know_is_told_signed_and_again_if_need_be() {
    let stage = Stage::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = stage.folder().join("key");
    std::fs::write(&key, "secret key\n").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let hooks = json!([{ "url": url, "on": ["failed"], "key_file": key }]);
    let job =
        |line: &str| json!({ "name": "told", "shell": line, "env": { "PRIVATE": "canary" }, "hooks": hooks });
    stage.ended(&stage.post(job("true")));
    let id = stage.post(job("exit 3"));
    let (first, _) = receive(&listener, "500 Internal Server Error");
    let (head, body) = receive(&listener, "204 No Content");
    assert!(head.contains("x-fieldpost-signature: sha256=") && first.contains("POST /hook "), "{head}");
    assert_eq!(
        (&body["run"], &body["state"], &body["reason"]),
        (&json!(id), &json!("failed"), &json!("exit 3"))
    );
    assert!(!body.to_string().contains("canary"), "what a run was given is told to nobody");
    let wrong = json!({ "job": { "command": "true", "hooks": [{ "url": "http://example.org/" }] } });
    assert_eq!(stage.send("POST", "/v1/runs", &wrong).unwrap().status, 422);
    let misspelt = stage.send("POST", "/v1/runs", &json!({ "job": { "comand": "true" } })).unwrap();
    let said = String::from_utf8_lossy(&misspelt.body).into_owned();
    assert!(
        misspelt.status == 422 && said.contains("job.comand: no such key; did you mean command?"),
        "{said}"
    );
}

#[test]
fn death_of_a_shim_is_told_and_leaves_nothing() {
    let mut stage = Stage::start();
    let line = "setsid sleep 641 & sleep 642";
    // Two shims each time, one under the agent's eyes and one while there is none.
    for _ in 0..soaked(1, 50) {
        let (watched, unwatched) = (stage.shell(line), stage.shell(line));
        let shim = |id: &str| stat(stage.running(id)["pid"].as_u64().unwrap() as u32).unwrap().1;
        let (of_watched, of_unwatched) = (shim(&watched), shim(&unwatched));
        signal(of_watched, rustix::process::Signal::KILL);
        assert_eq!(stage.ended(&watched)["state"], "lost");
        stage.agent.kill().unwrap();
        signal(of_unwatched, rustix::process::Signal::KILL);
        stage.agent.start_again().unwrap();
        assert_eq!(stage.ended(&unwatched)["state"], "lost");
        let gone = || (!is_running("sleep 641") && !is_running("sleep 642")).then_some(());
        wait_for("end of what lost shims had started", gone).unwrap();
    }
}
