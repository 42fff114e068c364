//! The hub's writer thread: the one place from which intake files are written and their logs
//! copied. Whatever queued during a commit goes into the next one; a batch is answered after
//! everything of it is on the disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldpost_model::hub_record::{KnownItem, Unwritten};
use fieldpost_model::{Intervals, Lost, Seq};

use crate::StoreError;
use crate::folder::{self, FileKind, StoreFile};
use crate::hub::batch::CheckedItem;
use crate::hub::intake::{Intake, Share, are_kept};
use crate::hub::ledger::{Numbers, SourceId};
use crate::hub::queue::Job;
use crate::hub::shared::Shared;
use crate::writer::chain;

/// How long the writer sleeps when there is nothing to write.
const IDLE: Duration = Duration::from_secs(5);
/// Intake files that are open at once: the present hour, and those that a backlog goes into.
const N_OPEN_MAX: usize = 16;
/// An intake file is closed when nothing came for it for so long, so that it can be merged.
const CLOSE_AFTER: Duration = Duration::from_secs(60);
/// The same trouble is logged once in this span.
const LOG_EVERY: Duration = Duration::from_secs(60);

struct Open {
    intake: Intake,
    used: Instant,
}

/// The writer thread's own things.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    open: HashMap<i64, Open>,
    logged: Option<Instant>,
    failing: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: HashMap::new(), logged: None, failing: false }
    }

    /// Writes until the store is closed and everything is written or answered.
    pub(crate) fn run(mut self) -> Result<(), StoreError> {
        while let Some(jobs) = self.shared.queue.take(IDLE) {
            if !jobs.is_empty() {
                self.write(jobs);
            }
            self.close_idle();
        }
        self.open.drain().try_for_each(|(_, open)| open.intake.close())
    }

    /// Writes batches, a transaction for each hour that they touch, and answers them.
    fn write(&mut self, mut jobs: Vec<Job>) {
        let mut staged = Numbers::new();
        let n_duplicates = drop_duplicates(&self.shared, &mut jobs, &mut staged);
        self.shared.stats.lock().n_duplicates += n_duplicates;
        let lost = lost(&self.shared, &mut jobs, &mut staged);
        let mut failed: Option<Arc<StoreError>> = None;
        for (hour, share) in shares(&jobs, &lost) {
            let outcome = self.commit(hour, &share);
            if let Err(error) = &outcome {
                self.discard(hour, error);
            }
            self.report(&outcome);
            failed = outcome.err().map(Arc::new).or(failed);
        }
        if failed.is_none() {
            self.let_go(&jobs);
        }
        jobs.into_iter().for_each(|job| self.answer(job, failed.as_ref()));
    }

    fn commit(&mut self, hour: i64, share: &Share<'_>) -> Result<(), StoreError> {
        let began = Instant::now();
        let shared = Arc::clone(&self.shared);
        let open = self.intake_of(hour)?;
        let numbers = open.intake.append(share, &shared.ledger)?;
        shared.ledger.add(&open.intake.file.path, &numbers);
        note_items(&shared, share);
        // A log that cannot be copied now is copied later; the items are safe in it.
        let tended = open.intake.tend_log();
        let mut stats = shared.stats.lock();
        stats.n_items_stored += share.items.len() as u64;
        stats.n_samples_stored += share.items.iter().map(|checked| checked.item.n_samples).sum::<u64>();
        stats.bytes_stored += share.items.iter().map(|checked| checked.item.blob.len() as u64).sum::<u64>();
        stats.n_lost += share.lost.iter().map(|(_, _, numbers)| numbers.len()).sum::<u64>();
        stats.n_commits += 1;
        stats.commit_ms_last = began.elapsed().as_secs_f64() * 1e3;
        drop(stats);
        if let Err(error) = tended {
            self.discard(hour, &error);
        }
        Ok(())
    }

    /// The intake file of an hour; the one that was not used for longest makes way for it.
    fn intake_of(&mut self, hour: i64) -> Result<&mut Open, StoreError> {
        if !self.open.contains_key(&hour) {
            if self.open.len() >= N_OPEN_MAX {
                let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(hour, _)| *hour);
                oldest.map_or(Ok(()), |hour| self.close(hour))?;
            }
            let intake = self.open_intake(hour)?;
            self.open.insert(hour, Open { intake, used: Instant::now() });
        }
        let Some(open) = self.open.get_mut(&hour) else { return Err(StoreError::Closed) };
        open.used = Instant::now();
        Ok(open)
    }

    /// Goes on with the newest file of the hour, unless it is being merged: then another is begun.
    fn open_intake(&self, hour: i64) -> Result<Intake, StoreError> {
        let shared = &self.shared;
        let files = folder::list(&shared.folder)?;
        let of_hour = files.into_iter().filter(|file| file.kind == FileKind::Hot && file.hour == hour);
        let newest = of_hour.max_by_key(|file| file.seq);
        let next = newest.as_ref().map_or(1, |file| file.seq + 1);
        let fresh = StoreFile::new(&shared.folder, FileKind::Hot, hour, next);
        let file = newest.filter(|file| shared.claim_for_writing(file)).unwrap_or(fresh);
        shared.claim_for_writing(&file);
        let intake = Intake::open(&file, &shared.ledger);
        intake.inspect_err(|error| {
            shared.give_back(&file);
            shared.put_aside_if_damaged(&file, error);
        })
    }

    fn close(&mut self, hour: i64) -> Result<(), StoreError> {
        let Some(open) = self.open.remove(&hour) else { return Ok(()) };
        let file = open.intake.file.clone();
        let closed = open.intake.close();
        self.shared.give_back(&file);
        closed
    }

    fn close_idle(&mut self) {
        let idle = self.open.iter().filter(|(_, open)| open.used.elapsed() >= CLOSE_AFTER);
        let idle: Vec<i64> = idle.map(|(hour, _)| *hour).collect();
        for hour in idle {
            if let Err(error) = self.close(hour) {
                tracing::debug!(error = chain(&error), "an intake file could not be emptied of its log");
            }
        }
    }

    /// After a failed commit nobody knows what the connection believes: it is opened anew.
    fn discard(&mut self, hour: i64, error: &StoreError) {
        if let Some(open) = self.open.remove(&hour) {
            let file = open.intake.file.clone();
            drop(open);
            self.shared.give_back(&file);
            self.shared.put_aside_if_damaged(&file, error);
        }
    }

    /// Descriptions that no later hour needs are let go once their files have them.
    fn let_go(&self, jobs: &[Job]) {
        for job in jobs.iter().filter(|job| !are_kept(job.checked.stream)) {
            for checked in &job.checked.items {
                let open = self.open.get(&checked.hour);
                let n_blobs = open.map_or(0, |open| open.intake.n_blobs(&checked.scope));
                checked.scope.let_go(n_blobs);
            }
        }
    }

    /// Says once a minute that something is wrong, and once that it is well again.
    fn report(&mut self, outcome: &Result<(), StoreError>) {
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                self.logged = None;
                tracing::info!("the hub's store can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.failing = true;
                self.shared.count_error(error);
                if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    self.logged = Some(Instant::now());
                    tracing::warn!(error = chain(error), "nothing is acknowledged until it can be written");
                }
            }
        }
    }

    /// Answers a batch: all of it is here, or nothing may be acknowledged.
    fn answer(&self, job: Job, failed: Option<&Arc<StoreError>>) {
        let Job { checked, n_bytes, done } = job;
        let is_here =
            |range: &(Seq, Seq)| self.shared.ledger.missing(checked.source, range.0, range.1).is_empty();
        let whole = checked.answer.numbers.ranges().iter().all(is_here);
        let answer = match failed {
            Some(error) if !whole => Err(unwritten(error)),
            None if !whole => Err(unwritten(&Arc::new(StoreError::Moving))),
            _ => Ok(checked.answer),
        };
        drop((checked.items, checked.lost));
        self.shared.queue.release(n_bytes);
        done(answer);
    }
}

fn unwritten(error: &Arc<StoreError>) -> Unwritten {
    Unwritten::new(Arc::<StoreError>::clone(error))
}

/// What was written meanwhile, or is twice among these, is not written again. All numbers stay in
/// the answers, which are given only when the ledger has them.
fn drop_duplicates(shared: &Shared, jobs: &mut [Job], staged: &mut Numbers) -> u64 {
    let mut n_duplicates = 0;
    for checked in jobs.iter_mut().map(|job| &mut job.checked) {
        let source = checked.source;
        let staged = staged.entry(source).or_default();
        checked.items.retain(|item| {
            let seq = item.item.seq;
            let new = !staged.contains(seq) && !shared.ledger.contains(source, seq);
            staged.insert(seq, seq);
            checked.answer.numbers.insert(seq, seq);
            n_duplicates += u64::from(!new);
            new
        });
    }
    n_duplicates
}

/// Numbers that are said to be lost and are neither here nor among the items of these batches.
fn lost(shared: &Shared, jobs: &mut [Job], staged: &mut Numbers) -> Vec<(i64, SourceId, Lost, Intervals)> {
    let mut all = Vec::new();
    for checked in jobs.iter_mut().map(|job| &mut job.checked) {
        let staged = staged.entry(checked.source).or_default();
        for (hour, range) in &checked.lost {
            let mut numbers = Intervals::default();
            for (from, to) in shared.ledger.missing(checked.source, range.from, range.to).ranges() {
                numbers.union(&staged.missing(*from, *to));
            }
            staged.union(&numbers);
            checked.answer.numbers.insert(range.from, range.to);
            if !numbers.is_empty() {
                all.push((*hour, checked.source, range.clone(), numbers));
            }
        }
    }
    all
}

/// Items and lost ranges by the hour whose file they go into.
fn shares<'a>(jobs: &'a [Job], lost: &'a [(i64, SourceId, Lost, Intervals)]) -> BTreeMap<i64, Share<'a>> {
    let mut shares: BTreeMap<i64, Share<'a>> = BTreeMap::new();
    for checked in jobs.iter().flat_map(|job| &job.checked.items) {
        shares.entry(checked.hour).or_default().items.push(checked);
    }
    for (hour, source, range, numbers) in lost {
        shares.entry(*hour).or_default().lost.push((*source, range, numbers.clone()));
    }
    shares
}

fn note_items(shared: &Shared, share: &Share<'_>) {
    for CheckedItem { item, scope, .. } in &share.items {
        let known = KnownItem { seq: item.seq, to_ms: item.to_ms, checksum: Some(item.checksum) };
        shared.ledger.note_item(scope.source, known);
    }
}
