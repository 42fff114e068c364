//! The open hub store: what the process that writes it holds in its hands.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use fieldpost_model::hub_record::{Answer, Batch, Done, HubLimits, KnownItem, NotTaken, RecordWriter};
use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::folder::{self, FileKind, StoreFile};
use crate::hub::batch::{Check, Checked, HUB_SEQ_MAX};
use crate::hub::floor::Floor;
use crate::hub::intake::{self, read_received};
use crate::hub::ledger::{Ledger, Numbers, SourceKey};
use crate::hub::options::HubStoreOptions;
use crate::hub::queue::Job;
use crate::hub::shared::Shared;
use crate::hub::stats::HubStoreStats;
use crate::hub::writer::Writer;
use crate::source::{is_raw, open_file};
use crate::writer::chain;
use crate::{StoreError, ballast, database, maintain, quarantine};

/// What was found when a hub's store was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HubOpened {
    /// There was no store before.
    pub new: bool,
    /// Files that were damaged and put aside.
    pub quarantined: Vec<PathBuf>,
}

/// The open store of a hub. Only `append_and_wait`, `tend` and `close` wait for the disk.
pub struct HubStore {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    /// Held as long as the store is open.
    lock: Mutex<Option<File>>,
}

struct Threads {
    writer: JoinHandle<Result<(), StoreError>>,
    tending: JoinHandle<()>,
}

impl HubStore {
    /// Opens or makes the store in its folder, and starts its threads.
    pub fn open(options: HubStoreOptions) -> Result<(Self, HubOpened), StoreError> {
        database::check_version()?;
        let (folder, lock) = folder::prepare(&options.path)?;
        maintain::sweep(&folder)?;
        let mut opened = HubOpened { new: !Floor::path(&folder).exists(), ..HubOpened::default() };
        let (floor, floors) = open_floor(&folder, (options.clock)(), &mut opened)?;
        let quota = options.quota.0;
        let shared = Arc::new(Shared::new(folder, options, floor));
        let floors = floors.into_iter().map(|(key, numbers)| (shared.ledger.source(&key), numbers));
        shared.ledger.raise(&floors.collect::<Numbers>());
        recall(&shared, &mut opened)?;
        ballast::take_in(&shared.folder, quota)?;
        let threads = start(&shared)?;
        Ok((Self { shared, threads: Mutex::new(Some(threads)), lock: Mutex::new(Some(lock)) }, opened))
    }

    fn check(&self, batch: Batch) -> Result<Checked, String> {
        let options = &self.shared.options;
        let check = Check {
            limits: &options.limits,
            ledger: &self.shared.ledger,
            scopes: &self.shared.scopes,
            now_ms: self.shared.now_ms(),
            age_ms_max: options.retention.raw.as_ms(),
        };
        let checked = check.batch(batch);
        let mut stats = self.shared.stats.lock();
        match &checked {
            Ok(checked) => {
                stats.n_refused += checked.answer.n_refused;
                stats.n_duplicates += checked.n_duplicates;
            }
            Err(_) => stats.n_refused += 1,
        }
        checked
    }

    /// Takes in a batch and waits for its answer.
    pub fn append_and_wait(&self, batch: Batch) -> Result<Answer, NotTaken> {
        let (sender, receiver) = sync_channel(1);
        let done = move |answer| {
            // Whoever waits for it may have given up.
            let _ = sender.send(answer);
        };
        self.append(batch, Box::new(done))?;
        receiver.recv().map_err(|_| NotTaken::Closed)
    }

    /// Numbers of a range that are not here yet.
    pub fn missing(&self, agent_id: &str, spool_id: &str, stream: Stream, from: Seq, to: Seq) -> Intervals {
        match self.shared.ledger.find(&source_key(agent_id, spool_id, stream)) {
            Some(source) => self.shared.ledger.missing(source, from, to),
            None => Intervals::of(from, to),
        }
    }

    /// Merges and lets go of what is due now instead of within a minute, and waits for it, at
    /// most this long; answers whether it is done.
    pub fn tend(&self, patience: Duration) -> bool {
        self.shared.wake.settle(patience)
    }

    /// Figures of now. Looks at the folder: a matter of microseconds a file.
    pub fn stats(&self) -> HubStoreStats {
        let mut stats = self.shared.stats.lock().clone();
        (stats.queue_batches, stats.queue_bytes) = self.shared.queue.waiting();
        if let Ok(files) = folder::list(&self.shared.folder) {
            stats.n_files = files.len();
            stats.bytes = files.iter().map(StoreFile::bytes).sum();
        }
        stats
    }

    /// The folder, with every link in its path resolved.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Writes and answers what waits, and empties the logs.
    pub fn close(&self) -> Result<(), StoreError> {
        let threads = self.threads.lock().take().ok_or(StoreError::Closed)?;
        self.shared.wake.end();
        // A thread that panicked has said so on its way; what it left is checked at the next start.
        let tended = threads.tending.join().map_err(|_| StoreError::Closed);
        self.shared.queue.close();
        let ended = threads.writer.join().unwrap_or(Err(StoreError::Closed));
        *self.lock.lock() = None;
        ended.and(tended)
    }
}

/// `append` decodes what it is given on the thread of the caller: a millisecond for many windows. The
/// answer comes on the writer's thread.
impl RecordWriter for HubStore {
    fn append(&self, batch: Batch, done: Done) -> Result<(), NotTaken> {
        let n_bytes = batch.bytes();
        match self.shared.queue.reserve(n_bytes) {
            Err(_) => return Err(NotTaken::Closed),
            Ok(false) => {
                self.shared.stats.lock().n_full += 1;
                return Err(NotTaken::Full(batch));
            }
            Ok(true) => {}
        }
        let release = |answer| {
            self.shared.queue.release(n_bytes);
            answer
        };
        match self.check(batch) {
            Err(reason) => release(Err(NotTaken::Refused(reason))),
            Ok(checked) if checked.is_empty() => {
                done(Ok(checked.answer));
                release(Ok(()))
            }
            Ok(checked) => {
                self.shared.queue.push(Job { checked, n_bytes, done });
                Ok(())
            }
        }
    }

    fn progress(&self, agent_id: &str, spool_id: &str, stream: Stream) -> Intervals {
        self.shared.ledger.progress(&source_key(agent_id, spool_id, stream))
    }

    fn newest_item(&self, agent_id: &str, spool_id: &str, stream: Stream) -> Option<KnownItem> {
        self.shared.ledger.newest_item(&source_key(agent_id, spool_id, stream))
    }

    fn newest_ms(&self) -> HashMap<String, TimeMs> {
        self.shared.ledger.newest_ms()
    }

    fn limits(&self) -> &HubLimits {
        &self.shared.options.limits
    }

    fn span_taken(&self) -> (TimeMs, TimeMs) {
        let (now_ms, options) = (self.shared.now_ms(), &self.shared.options);
        let oldest_ms = now_ms.saturating_sub(options.retention.raw.as_ms()).max(0);
        (oldest_ms, now_ms.saturating_add(options.limits.ahead.as_ms()))
    }
}

impl Drop for HubStore {
    fn drop(&mut self) {
        match self.close() {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(error = chain(&error), "the hub's store could not be closed cleanly");
            }
        }
    }
}

fn source_key(agent_id: &str, spool_id: &str, stream: Stream) -> SourceKey {
    SourceKey { agent_id: agent_id.to_owned(), spool_id: spool_id.to_owned(), stream }
}

fn start(shared: &Arc<Shared>) -> Result<Threads, StoreError> {
    let failed = || StoreError::io("start a thread for", &shared.folder);
    let builder = |name: &str| std::thread::Builder::new().name(name.into());
    let writer = Writer::new(Arc::clone(shared));
    let writer = builder("hub-writer").spawn(move || writer.run()).map_err(failed())?;
    // What was left to merge is merged now, not in a minute.
    shared.wake.wake();
    let tended = Arc::clone(shared);
    let tending = builder("hub-tend").spawn(move || crate::hub::tend::run(&tended)).map_err(failed())?;
    Ok(Threads { writer, tending })
}

type Floors = Vec<(SourceKey, Intervals)>;

/// Opens `progress.db`. A damaged one is put aside: what it kept from being asked for again is too
/// old to be taken anyway.
fn open_floor(folder: &Path, now_ms: TimeMs, opened: &mut HubOpened) -> Result<(Floor, Floors), StoreError> {
    let open = || {
        let floor = Floor::open(folder)?;
        let floors = floor.read()?;
        Ok((floor, floors))
    };
    match open() {
        Err(error) if StoreError::is_damage(&error) => {
            tracing::error!(error = chain(&error), "progress.db is damaged and is begun anew");
            opened.quarantined.push(quarantine::put_aside(folder, &Floor::path(folder), now_ms)?);
            open()
        }
        outcome => outcome,
    }
}

/// Reads which numbers the files answer for; a damaged file is put aside.
fn recall(shared: &Shared, opened: &mut HubOpened) -> Result<(), StoreError> {
    let files = folder::list(&shared.folder)?;
    for file in files.iter().filter(|file| is_raw(file.kind)) {
        match recall_file(&shared.ledger, file) {
            Err(error) if error.is_damage() => {
                shared.put_aside_if_damaged(file, &error);
                opened.quarantined.push(file.path.clone());
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

fn recall_file(ledger: &Ledger, file: &StoreFile) -> Result<(), StoreError> {
    if file.kind == FileKind::Hot {
        intake::recover(file)?;
    }
    let connection = open_file(file)?;
    let failed = || StoreError::sql("read", &file.path);
    let received = read_received(&connection).map_err(failed())?;
    let numbers = received.into_iter().map(|(key, numbers)| (ledger.source(&key), numbers));
    ledger.add(&file.path, &numbers.collect());
    for (key, item) in newest_items(&connection, file).map_err(failed())? {
        ledger.note_item(ledger.source(&key), item);
    }
    Ok(())
}

/// The newest items of each source.
fn newest_items(connection: &Connection, file: &StoreFile) -> rusqlite::Result<Vec<(SourceKey, KnownItem)>> {
    let sql = match file.kind {
        // The item with the highest number of each part: its key is the last of the part's.
        FileKind::Hot => {
            "SELECT items.key, items.to_ms, items.crc FROM parts, items WHERE source = ?1 AND items.key = \
             (SELECT max(key) FROM items WHERE key >= part << 40 AND key < (part + 1) << 40)"
        }
        _ => "SELECT last, to_ms, NULL FROM spans WHERE source = ?1",
    };
    let mut statement = connection.prepare(sql)?;
    let mut all = Vec::new();
    for (number, key) in intake::read_sources(connection)? {
        let items = statement.query_map([number], |row| {
            let seq = row.get::<_, i64>(0)? as Seq & HUB_SEQ_MAX;
            let checksum = row.get::<_, Option<i64>>(2)?.map(|crc| crc as u32);
            Ok(KnownItem { seq, to_ms: row.get(1)?, checksum })
        })?;
        for item in items {
            all.push((key.clone(), item?));
        }
    }
    Ok(all)
}
