//! The jobs' file: what was called written is there, ids are unique, damage is put aside.

use fieldpost_model::job::{Cause, Job, Run, RunState};
use fieldpost_store::{JobsChange, JobsFile, RunQuery, TaskRow, Written};

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
