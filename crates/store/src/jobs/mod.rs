//! What the agent's jobs leave behind: runs, what is remembered of recurring tasks, sealed secrets.
//! `jobs.db` in a folder of its own. One thread writes, and commits together whatever came while
//! the commit before was on its way to the disk.

mod open;
mod query;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use fieldpost_model::TimeMs;
use fieldpost_model::job::Run;
use parking_lot::Mutex;
use rusqlite::Connection;

pub use open::JobsOpened;
pub use query::{RunPage, RunQuery};

use crate::{StoreError, database};

/// Changes that wait for the disk, at most; more have their callers wait.
const N_WAITING_MAX: usize = 8_192;
/// Reading connections that are kept for the next reader.
const N_READERS_KEPT: usize = 2;
/// Stack of the writer's thread, bytes.
const STACK_BYTES: usize = 512 << 10;

/// One thing to be written.
#[derive(Debug, Clone)]
pub enum JobsChange {
    /// A run that is new; refused if there is one of this id.
    AddRun(Box<Run>),
    /// A run as it is now.
    PutRun(Box<Run>),
    /// A run that is forgotten.
    RemoveRun(String),
    /// What is remembered of a task.
    PutTask(TaskRow),
    /// A task that is forgotten.
    RemoveTask(String),
    /// Sealed secrets of a run.
    PutSealed(String, Vec<u8>),
    /// They are not needed any more.
    RemoveSealed(String),
}

/// What is remembered of a recurring task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its name.
    pub name: String,
    /// Its definition as JSON; none where a file defines it.
    pub definition: Option<String>,
    /// Was it disabled by somebody?
    pub paused: bool,
    /// The newest slot that was dealt with.
    pub slot_ms: Option<TimeMs>,
    /// By what the scheduler knows it.
    pub ticker: Option<String>,
    /// When this was written.
    pub changed_ms: TimeMs,
}

/// What became of changes that went together.
#[derive(Debug, Clone)]
pub enum Written {
    /// They are on the disk.
    Done,
    /// Nothing was changed: there is a run of this id.
    Exists,
    /// Nothing was changed: the disk or SQLite refused.
    Failed(Arc<StoreError>),
}

/// Called when changes are on the disk, or are not going to be.
pub type OnWritten = Box<dyn FnOnce(Written) + Send>;

/// Called from the writer's thread after each commit; it must not wait.
pub type OnChange = Box<dyn Fn() + Send + Sync>;

/// Changes that go together, and who waits for them.
pub(crate) struct Submission {
    pub(crate) changes: Vec<JobsChange>,
    pub(crate) done: OnWritten,
}

/// The file of the jobs, open.
pub struct JobsFile {
    path: PathBuf,
    inbox: Mutex<Option<SyncSender<Submission>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    told: Arc<Mutex<Option<OnChange>>>,
}

impl JobsFile {
    /// Opens the file in this folder, which has to be there, or makes it. One that is damaged is
    /// put aside under another name and a new one begun.
    pub fn open(folder: &Path, now_ms: TimeMs) -> Result<(Self, JobsOpened), StoreError> {
        let (path, connection, opened) = open::open(folder, now_ms)?;
        let (inbox, submissions) = sync_channel(N_WAITING_MAX);
        let of_writer = path.clone();
        let told = Arc::new(Mutex::new(None));
        let telling = Arc::clone(&told);
        let writer = std::thread::Builder::new()
            .name("jobs-store".into())
            .stack_size(STACK_BYTES)
            .spawn(move || writer::run(&of_writer, connection, &submissions, &telling))
            .map_err(StoreError::io("start the writer of", &path))?;
        let file = Self {
            path,
            inbox: Mutex::new(Some(inbox)),
            writer: Mutex::new(Some(writer)),
            readers: Mutex::default(),
            told,
        };
        Ok((file, opened))
    }

    /// Has somebody called after each commit, in place of whoever was before.
    pub fn on_change(&self, told: OnChange) {
        *self.told.lock() = Some(told);
    }

    /// Has changes written, all or none, in the order in which they come; `done` is called from
    /// the writer's thread. Waits only while very many are under way already.
    pub fn submit(&self, changes: Vec<JobsChange>, done: OnWritten) {
        let inbox = self.inbox.lock().clone();
        let submission = Submission { changes, done };
        let refused = match inbox {
            Some(inbox) => inbox.send(submission).err().map(|error| error.0),
            None => Some(submission),
        };
        if let Some(submission) = refused {
            (submission.done)(Written::Failed(Arc::new(StoreError::Closed)));
        }
    }

    /// The same, and waits for the disk.
    pub fn write(&self, changes: Vec<JobsChange>) -> Written {
        let (answer, answered) = sync_channel(1);
        self.submit(changes, Box::new(move |written| drop(answer.send(written))));
        answered.recv().unwrap_or_else(|_| Written::Failed(Arc::new(StoreError::Closed)))
    }

    /// Writes what is under way and closes the file.
    pub fn close(&self) {
        drop(self.inbox.lock().take());
        let writer = self.writer.lock().take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the writer of the jobs' file ended badly");
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let kept = self.readers.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => database::open_reader(&self.path)?,
        };
        let answer = work(&connection).map_err(StoreError::sql("read", &self.path))?;
        let mut readers = self.readers.lock();
        if readers.len() < N_READERS_KEPT {
            readers.push(connection);
        }
        Ok(answer)
    }
}

impl Drop for JobsFile {
    fn drop(&mut self) {
        self.close();
    }
}
