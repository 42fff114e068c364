//! Parameters of jobs: filled by whoever has them run, checked, and given to the command as words, never
//! as a part of a line of the shell.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::Stage;

const JOBS: &str = r#"jobs:
- name: words
  command: sh
  args: ['-c', 'for word in "$@"; do printf "[%s]" "$word"; done; printf "%s" "$MODE/$FIELDPOST_PARAM_LEVEL"; cat', x, '{{text}}', '--level={{level}}', '{{left}}', '{{.Names}}']
  env: {MODE: 'm-{{mode}}'}
  takes_stdin: true
  params:
    - {name: text, required: true}
    - {name: level, type: int, min: 1, max: 9, default: 3}
    - {name: mode, type: choice, choices: [check, write], default: check}
    - {name: left}
- name: line
  shell: 'printf "<%s>" "$FIELDPOST_PARAM_TEXT"'
  params: [{name: text, pattern: '(?s:.*)', default: none}]
"#;

#[test]
fn values_reach_the_command_as_single_words_or_nothing_runs() {
    let stage = Stage::with_jobs(JOBS, &[]);
    let said = |id: &str| {
        stage.ended(id);
        String::from_utf8(stage.output(id)).unwrap()
    };
    let hostile = "a $(touch /tmp/x) '; \" {{level}} `id`";
    let mut child = stage.agent.command(&[
        "job",
        "trigger",
        "words",
        "--param",
        &format!("text={hostile}"),
        "--param",
        "level=07",
        "--stdin",
        "-",
    ]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b" read").unwrap();
    let id = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
    let run = stage.ended(&id);
    assert_eq!(said(&id), format!("[{hostile}][--level=7][{{{{.Names}}}}]m-check/7 read"));
    assert_eq!(run["params"], json!({ "text": hostile, "level": "7", "mode": "check" }));
    let trigger = |name: &str, given: Value| {
        let answer = stage.send("POST", &format!("/v1/jobs/{name}/trigger"), &given).unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, body)
    };
    let (status, run) = trigger("words", json!({ "params": { "text": 1.5, "mode": "write", "left": true } }));
    assert_eq!(status, 201, "{run}");
    assert_eq!(said(run["id"].as_str().unwrap()), "[1.5][--level=3][true][{{.Names}}]m-write/3");
    let (_, run) = trigger("line", json!({ "params": { "text": hostile } }));
    assert_eq!(said(run["id"].as_str().unwrap()), format!("<{hostile}>"));
    let (status, problem) =
        trigger("words", json!({ "params": { "level": 10, "mode": "WRITE", "txt": "--x" } }));
    let expected = "params.text: missing; give text of one line that does not begin with a dash; \
         params.level: \"10\" is not allowed; give a whole number from 1 to 9; \
         params.mode: \"WRITE\" is not allowed; give one of check, write; \
         params.txt: no such parameter; this job has text, level, mode, left";
    assert_eq!((status, problem["detail"].as_str()), (422, Some(expected)));
    let (status, problem) = trigger("line", json!({ "stdin": "x" }));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("takes_stdin: true"), "{problem}");
    let option = stage.client(&["job", "trigger", "words", "--param", "text=--rm"]);
    assert!(String::from_utf8_lossy(&option.stderr).contains("does not begin with a dash"), "{option:?}");
    assert_eq!(stage.runs_of("words").len(), 2, "what was refused has left no run");
    let shown = String::from_utf8(stage.client(&["job", "show", "words"]).stdout).unwrap();
    assert!(shown.contains("level: a whole number from 1 to 9, else 3"), "{shown}");
}

#[test]
fn definitions_with_faults_are_told_with_their_places() {
    let stage = Stage::with_jobs("jobs: []\n", &[]);
    let file = stage.agent.config_dir().join("jobs.d/10-test.yaml");
    let text = "jobs:\n- name: a\n  shell: echo {{day}}\n  params:\n    - {name: day, patern: x}\n    - {name: n, type: integer}\n\
                - name: b\n  command: x\n  args: ['{{dya}}']\n  every: 1h\n  params:\n    - {name: day, pattern: '(', required: true}\n\
                - name: c\n  shell: 'echo {{day}}'\n  params: [{name: day}]\n";
    std::fs::write(&file, text).unwrap();
    let refused = stage.client(&["agent", "--reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in [
        "10-test.yaml:5:19: jobs[0].params[0].patern: no such key; did you mean pattern?",
        "jobs[0].params[1].type: \"integer\" is not known here",
        "10-test.yaml:12:28: jobs[1].params[0].pattern: \"(\" is no regular expression",
        "jobs[1].params[0].required: a job that runs by itself has nobody who gives it; write a default",
        "jobs[1].args[0]: {{dya}} is no parameter of this job",
        "jobs[2].shell: a value never becomes part of it; use the variable \"$FIELDPOST_PARAM_NAME\", in double quotes",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
}
