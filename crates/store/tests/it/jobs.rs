//! The jobs' file: what was called written is there, ids are unique, damage is put aside.

use fieldpost_model::hub_runs::RunGap;
use fieldpost_model::job::{Cause, Job, Outcome, Run, RunState};
use fieldpost_store::{JobsChange, JobsFile, RunQuery, TaskRow, Written};
use rusqlite::Connection;

fn run(id: &str, job: &str, tag: &str) -> Run {
    let job = Job {
        name: job.into(),
        command: "true".into(),
        tags: [("k\"".to_owned(), tag.to_owned())].into(),
        ..Job::default()
    };
    Run::new(id.into(), job, Cause::Asked, "uid 0".into(), 1_000)
}

#[test]
fn runs_are_found_again_and_no_id_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (file, opened) = JobsFile::open(folder.path(), 0).unwrap();
    assert_eq!(opened.put_aside, None);
    for (id, job, tag) in [("one-aaaa", "x", "1"), ("two-bbbb", "x", "2"), ("two-aaaa", "y", "2")] {
        assert!(matches!(file.write(vec![JobsChange::AddRun(run(id, job, tag).into())]), Written::Done));
    }
    let again = file.write(vec![
        JobsChange::RemoveRun("one-aaaa".into()),
        JobsChange::AddRun(run("two-bbbb", "x", "1").into()),
    ]);
    assert!(matches!(again, Written::Exists));
    assert!(file.run("one-aaaa").unwrap().is_some(), "all of a submission or none of it");
    assert_eq!(file.ids_like("two-").unwrap().len(), 2);
    assert_eq!(file.ids_like("-aaaa").unwrap(), ["two-aaaa", "one-aaaa"]);
    let mut ended = run("two-bbbb", "x", "2");
    ended.change(RunState::Succeeded, 2_000, "exit 0");
    assert!(matches!(file.write(vec![JobsChange::PutRun(ended.clone().into())]), Written::Done));
    file.close();
    let (file, _) = JobsFile::open(folder.path(), 0).unwrap();
    assert_eq!(file.run("two-bbbb").unwrap(), Some(ended));
    assert_eq!(file.runs_going_on().unwrap().len(), 2);
    let ids = |query: RunQuery| -> Vec<String> {
        file.runs(&query).unwrap().runs.into_iter().map(|run| run.id).collect()
    };
    let query = RunQuery { limit: 10, ..RunQuery::default() };
    assert_eq!(ids(query.clone()), ["two-aaaa", "two-bbbb", "one-aaaa"]);
    assert_eq!(ids(RunQuery { job: Some("x".into()), ..query.clone() }), ["two-bbbb", "one-aaaa"]);
    assert_eq!(ids(RunQuery { tags: vec![("k\"".into(), "2".into())], ..query.clone() }).len(), 2);
    assert_eq!(ids(RunQuery { states: vec![RunState::Succeeded], ..query.clone() }), ["two-bbbb"]);
    let first = file.runs(&RunQuery { limit: 2, ..query.clone() }).unwrap();
    assert_eq!(ids(RunQuery { before: first.next, ..query }), ["one-aaaa"]);
    assert_eq!(file.old_runs(3_000, 100, 9).unwrap(), ["two-bbbb"]);
    let mut said_much = file.run("two-bbbb").unwrap().unwrap();
    said_much.output.kept_bytes = 1_000;
    file.write(vec![JobsChange::PutRun(said_much.into())]);
    assert_eq!(file.runs_beyond(1_000, 9).unwrap().len(), 0);
    assert_eq!(file.runs_beyond(999, 9).unwrap()[0].id, "two-bbbb");
}

#[test]
fn tasks_and_sealed_secrets_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = JobsFile::open(folder.path(), 0).unwrap();
    let task = TaskRow {
        name: "t".into(),
        definition: None,
        paused: true,
        slot_ms: Some(5),
        ticker: None,
        changed_ms: 1,
    };
    file.write(vec![JobsChange::PutTask(task.clone()), JobsChange::PutSealed("r".into(), vec![1, 2])]);
    assert_eq!(file.tasks().unwrap(), [task]);
    assert_eq!(file.sealed("r").unwrap(), Some(vec![1, 2]));
    file.write(vec![JobsChange::RemoveSealed("r".into()), JobsChange::RemoveTask("t".into())]);
    assert_eq!((file.tasks().unwrap().len(), file.sealed("r").unwrap()), (0, None));
}

#[test]
fn damaged_file_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jobs.db"), [7; 9_000]).unwrap();
    let (file, opened) = JobsFile::open(folder.path(), 42).unwrap();
    let aside = opened.put_aside.unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), [7; 9_000]);
    assert!(matches!(file.write(vec![JobsChange::AddRun(run("a", "", "").into())]), Written::Done));
}

#[test]
fn version_1_opens_with_all_that_is_in_it_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("versions/1/jobs.sql")).unwrap();
    let (file, opened) = JobsFile::open(folder.path(), 0).unwrap();
    assert_eq!(opened.put_aside, None);
    let over = file.run("0199aaaa-0000-7000-8000-000000000001").unwrap().unwrap();
    assert_eq!(
        (over.state, over.outcome, over.took_ms),
        (RunState::Failed, Some(Outcome::Exited { code: 3 }), Some(900))
    );
    assert_eq!(
        (over.job.name.as_str(), over.job.domain.as_str(), over.usage.memory_peak_bytes),
        ("nightly", "shop", 1 << 20)
    );
    assert_eq!((over.marks, over.secret_names), (vec!["late".to_owned()], vec!["TOKEN".to_owned()]));
    let going_on = file.runs_going_on().unwrap();
    assert_eq!((going_on.len(), going_on[0].pid), (1, Some(4711)));
    let tasks = file.tasks().unwrap();
    assert_eq!((tasks.len(), tasks[1].paused, tasks[1].slot_ms), (2, true, Some(1_795_219_200_000)));
    let asked: Job = serde_json::from_str(tasks[0].definition.as_deref().unwrap()).unwrap();
    assert_eq!(asked.name, "nightly");
    assert_eq!(file.sealed(&going_on[0].id).unwrap(), Some(vec![1, 2]));
    // A hub draws all of it, and what comes behind it.
    assert_eq!(file.changes(0, 10).unwrap().len(), 2);
    let mut ended = going_on[0].clone();
    ended.change(RunState::Succeeded, 1_795_219_202_000, "exit 0");
    assert!(matches!(file.write(vec![JobsChange::PutRun(ended.into())]), Written::Done));
    assert_eq!(file.changes(2, 10).unwrap()[0].1.state, RunState::Succeeded);
    file.close();
    let new = tempfile::tempdir().unwrap();
    JobsFile::open(new.path(), 0).unwrap().0.close();
    let schema = |folder: &std::path::Path| -> Vec<String> {
        let connection = Connection::open(folder.join("jobs.db")).unwrap();
        // A column that was added stands behind the others in the text of its table.
        let sql = "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name)
            UNION ALL SELECT group_concat(name || type) FROM pragma_table_info('runs')";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(schema(folder.path()), schema(new.path()));
}

#[test]
fn what_was_forgotten_before_it_was_told_is_counted_also_when_it_is_much() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = JobsFile::open(folder.path(), 0).unwrap();
    const N_RUNS: u64 = 10_500;
    let ids: Vec<String> = (0..N_RUNS).map(|n| format!("run-{n}")).collect();
    for ids in ids.chunks(500) {
        let added = ids.iter().map(|id| JobsChange::AddRun(run(id, "x", "1").into())).collect();
        assert!(matches!(file.write(added), Written::Done));
    }
    let forget = |ids: &[String]| {
        let removed = ids.iter().cloned().map(JobsChange::RemoveRun).collect();
        assert!(matches!(file.write(removed), Written::Done));
    };
    assert_eq!((file.removals_head().unwrap(), file.gap(0, 0).unwrap()), (0, None));
    forget(&ids[..3]);
    let gap = RunGap { version: 3, n_runs: 3, at_most: false, from_ms: 1_000, to_ms: 1_000 };
    assert_eq!(file.gap(0, 0).unwrap(), Some(gap.clone()));
    assert_eq!(file.gap(2, 0).unwrap().map(|gap| gap.n_runs), Some(1), "who has heard of two misses one");
    assert_eq!(file.gap(0, 2).unwrap().map(|gap| gap.n_runs), Some(1), "who came after two misses one");
    assert_eq!(file.gap(3, 0).unwrap(), None);
    assert_eq!(file.forgotten_between(1_000, 1_001).unwrap(), Some(gap));
    assert_eq!(file.forgotten_between(1_001, 2_000).unwrap(), None);
    ids[3..].chunks(500).for_each(forget);
    let all = file.gap(0, 0).unwrap().unwrap();
    assert_eq!((all.n_runs, all.at_most), (N_RUNS, true), "the oldest are counted together");
    assert_eq!(file.gap(N_RUNS - 10, 0).unwrap().map(|gap| (gap.n_runs, gap.at_most)), Some((10, false)));
}
