//! Takes in what others push: series of any labels become windows in the hub's own store, under one
//! pseudo-agent for each API token. A sender is answered after its samples are on the disk.

mod columns;
mod dictionary;
mod lane;
mod logs;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_formats::otlp::{self, OtlpError, Rejections};
use fieldpost_formats::pushed::PushedSeries;
use fieldpost_formats::remote_write::{self, RequestError, Version, Written};
use fieldpost_formats::{Limits, Outcome, Pushed as Said};
use fieldpost_model::hub_record::{Accepted, Answer, Batch, NotTaken, RecordWriter};
use fieldpost_model::{Frame, Item, Seq, Stream, TimeMs};
use fieldpost_store::record::Definition;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::Hub;
use columns::Columns;
use dictionary::{Dictionary, frames_of};
use lane::{Lane, Place};

/// Before the id of a token in the id of its pseudo-agent. Ids of agents are hexadecimal.
const PREFIX: &str = "push-";
/// The pseudo-agent of the hub's own series.
pub(super) const HUB: &str = "hub";
/// Before the name of a job in the id of the pseudo-agent of its targets.
const SCRAPED: &str = "scrape-";
/// The one numbering of a pseudo-agent: only the hub counts here.
const SPOOL: &str = "pushed";
/// Requests that are taken in at a time; each may need some 100 MiB at the worst.
const N_AT_A_TIME: usize = 8;
/// The longest that a request waits for its turn.
const TURN_DEADLINE: Duration = Duration::from_secs(5);
/// Reasons that are said in an answer; the rest is counted.
const N_REASONS_MAX: usize = 8;

/// Is this the id of a pseudo-agent, whose series keep the labels that they came with?
pub(super) fn is_pseudo(agent_id: &str) -> bool {
    agent_id == HUB || agent_id.starts_with(PREFIX) || agent_id.starts_with(SCRAPED)
}

/// The pseudo-agent of a job's targets.
pub(super) fn scraped(job: &str) -> String {
    format!("{SCRAPED}{job}")
}

/// Why nothing of a request was taken, or not for sure.
#[derive(Debug, thiserror::Error)]
pub enum PushFault {
    /// No remote write.
    #[error(transparent)]
    RemoteWrite(#[from] RequestError),
    /// No OTLP.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// Send it again later.
    #[error("the hub has more to write than it can; send it again later")]
    Busy,
    /// The hub failed; sending it again may help.
    #[error("what was pushed cannot be stored")]
    Failed(#[from] anyhow::Error),
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Samples on the disk.
    pub written: Written,
    /// What was refused, and why.
    pub refused: Refused,
}

/// Samples that were refused for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub n_samples: u64,
    /// Some of the reasons, each once.
    pub reasons: Vec<String>,
}

impl Refused {
    fn add(&mut self, n_samples: u64, reason: String) {
        self.n_samples += n_samples;
        if self.reasons.len() < N_REASONS_MAX && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Was anything refused?
    pub fn is_any(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples refused: {}", self.n_samples, self.reasons.join("; "))
    }
}

/// Where pushed series go in.
pub struct Pushed {
    store: Arc<dyn RecordWriter>,
    /// A number that no other start of this hub has: meanings of ids end with the process.
    started_ms: TimeMs,
    sources: Mutex<HashMap<String, Arc<Lane<Source>>>>,
    turns: Semaphore,
}

/// What the pusher of one token is known by.
struct Source {
    agent_id: String,
    dictionary: Dictionary,
    next_seq: Seq,
    /// The next number in the stream of logs.
    next_log: Seq,
}

/// What the ids of a request mean, as far as the store does not know it yet.
struct Described {
    scope: String,
    definitions: Vec<Definition>,
}

/// A request that waits for the disk.
struct Waiting {
    source: Arc<Lane<Source>>,
    scope: String,
    committed: oneshot::Receiver<Answer>,
    /// Samples by the number of their item.
    items: Vec<(Seq, u64)>,
}

impl Pushed {
    pub(super) fn new(store: Arc<dyn RecordWriter>, started_ms: TimeMs) -> Self {
        Self { store, started_ms, sources: Mutex::default(), turns: Semaphore::new(N_AT_A_TIME) }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, PushFault> {
        let turn = tokio::time::timeout(TURN_DEADLINE, self.turns.acquire()).await;
        turn.map_err(|_| PushFault::Busy)?.map_err(|error| PushFault::Failed(error.into()))
    }

    /// How much one request may bring: of labels as much as the store takes.
    fn limits(&self) -> Limits {
        // The name of the metric is a label here and none in the store.
        Limits { labels_max: self.store.limits().labels.saturating_add(1), ..Limits::default() }
    }

    fn source(&self, agent_id: &str) -> Arc<Lane<Source>> {
        let mut sources = self.sources.lock();
        let source = sources.entry(agent_id.to_owned()).or_insert_with(|| {
            let agent_id = agent_id.to_owned();
            let next = |stream| self.store.progress(&agent_id, SPOOL, stream).last().unwrap_or(0) + 1;
            let (next_seq, next_log) = (next(Stream::Metrics), next(Stream::Logs));
            let dictionary = Dictionary::new(self.started_ms, self.store.limits());
            Arc::new(Lane::new(Source { agent_id, dictionary, next_seq, next_log }))
        });
        Arc::clone(source)
    }

    /// Reads a request and hands it to the store. Waits for nothing but its turn with the sender.
    fn take<T>(
        &self,
        agent_id: &str,
        now_ms: TimeMs,
        refused: &mut Refused,
        decode: impl FnOnce(&mut dyn FnMut(Said<'_>)) -> Result<T, PushFault>,
    ) -> Result<(T, Option<Waiting>), PushFault> {
        let lane = self.source(agent_id);
        let mut columns = Columns::new(self.store.span_taken());
        let ((decoded, described), place) = lane.begin(|source| {
            source.dictionary.begin(now_ms);
            let decoded = decode(&mut |said| match said {
                Said::Series(series) => source.take_in(&series, &mut columns, refused),
                Said::Family { name, metadata } => source.dictionary.note_family(name, &metadata),
            })?;
            let described = (!columns.is_empty()).then(|| source.describe());
            Ok::<_, PushFault>((decoded, described))
        })?;
        if let Some(reason) = columns.reason() {
            refused.add(columns.n_refused, reason);
        }
        let Some(described) = described else { return Ok((decoded, None)) };
        Ok((decoded, Some(self.hand_in(place, described, columns.seal())?)))
    }

    fn hand_in(
        &self,
        place: Place<Source>,
        described: Described,
        mut items: Vec<Item>,
    ) -> Result<Waiting, PushFault> {
        let Described { scope, definitions } = described;
        let (lane, frames) = (place.lane(), frames_of(&definitions));
        place.end(|source| {
            for (seq, item) in (source.next_seq..).zip(&mut items) {
                item.seq = seq;
            }
            let counts: Vec<_> = items.iter().map(|item| (item.seq, item.n_samples)).collect();
            let n_bytes = frames.iter().map(Vec::len).sum();
            let scope_frame = std::iter::once(Frame::Scope(scope.clone()));
            let frames = scope_frame.chain(frames.into_iter().map(Frame::Definitions));
            let frames = frames.chain(items.into_iter().map(Frame::Item)).collect();
            match self.append(&source.agent_id, Stream::Metrics, frames) {
                Ok(committed) => {
                    source.dictionary.described(&scope, n_bytes);
                    source.next_seq += counts.len() as u64;
                    Ok(Waiting { source: lane, scope, committed, items: counts })
                }
                Err(fault) => {
                    source.dictionary.put_back(&scope, definitions);
                    Err(fault)
                }
            }
        })
    }

    fn append(
        &self,
        agent_id: &str,
        stream: Stream,
        frames: Vec<Frame>,
    ) -> Result<oneshot::Receiver<Answer>, PushFault> {
        let (done, committed) = oneshot::channel();
        let (agent_id, spool_id) = (agent_id.to_owned(), SPOOL.to_owned());
        let batch = Batch { agent_id, spool_id, stream, frames };
        let done = move |answer| {
            // The sender may have gone meanwhile; it sends the same again, and that is stored once.
            let _ = done.send(answer);
        };
        match self.store.append(batch, Box::new(done)) {
            Ok(()) => Ok(committed),
            Err(NotTaken::Full(_)) => Err(PushFault::Busy),
            Err(NotTaken::Refused(reason)) => Err(PushFault::Failed(anyhow::anyhow!(reason))),
            Err(NotTaken::Closed) => Err(PushFault::Failed(anyhow::anyhow!("the hub is ending"))),
        }
    }
}

impl Source {
    fn take_in(&mut self, series: &PushedSeries<'_>, columns: &mut Columns, refused: &mut Refused) {
        match self.dictionary.id(series) {
            Ok(id) => columns.add(id, series.samples),
            Err(reason) => refused.add(series.samples.len() as u64, reason),
        }
    }

    fn describe(&mut self) -> Described {
        Described { scope: self.dictionary.scope(), definitions: self.dictionary.take_undescribed() }
    }
}

impl Waiting {
    /// Waits for the disk: how many samples are on it.
    async fn settle(self, refused: &mut Refused) -> Result<u64, PushFault> {
        let answer = self.committed.await.context("the store has ended")?;
        let Accepted { numbers, refused: not_taken, .. } = answer.map_err(anyhow::Error::new)?;
        let defines = not_taken.iter().any(|refusal| refusal.seq.is_none());
        if defines || not_taken.iter().any(|refusal| refusal.undefined) {
            // The next request describes its series anew.
            self.source.with(|source| source.dictionary.renew(&self.scope));
        }
        if !defines && not_taken.iter().any(|refusal| refusal.undefined) {
            return Err(PushFault::Busy);
        }
        let is_here = |(seq, _): &&(Seq, u64)| numbers.contains(*seq);
        let n_written = self.items.iter().filter(is_here).map(|(_, n)| n).sum::<u64>();
        let n_samples = self.items.iter().map(|(_, n)| n).sum::<u64>() - n_written;
        for (position, refusal) in not_taken.into_iter().enumerate() {
            refused.add(if position == 0 { n_samples } else { 0 }, refusal.reason);
        }
        Ok(n_written)
    }
}

impl Hub {
    /// Stores series of the hub's own under a pseudo-agent. Answers once they are on the disk.
    pub(super) async fn store_own(
        self: Arc<Self>,
        agent_id: String,
        build: impl FnOnce(&Hub, &mut dyn FnMut(Said<'_>)) -> anyhow::Result<()> + Send + 'static,
    ) -> Result<Refused, PushFault> {
        let taking = tokio::task::spawn_blocking(move || {
            let mut refused = Refused::default();
            let say = |visit: &mut dyn FnMut(Said<'_>)| Ok(build(&self, visit)?);
            let ((), waiting) = self.pushed.take(&agent_id, self.now_ms(), &mut refused, say)?;
            Ok::<_, PushFault>((waiting, refused))
        });
        let (waiting, mut refused) = taking.await.context("writing own series broke off")??;
        settled(waiting, &mut refused).await?;
        Ok(refused)
    }

    /// Takes in a request of remote write as it came, from the holder of this token. Answers once
    /// it is on the disk.
    pub async fn push_remote_write(
        self: Arc<Self>,
        sender: String,
        version: Version,
        block: bytes::Bytes,
    ) -> Result<Receipt, PushFault> {
        let _turn = self.pushed.turn().await?;
        let hub = Arc::clone(&self);
        let taking = tokio::task::spawn_blocking(move || {
            let (limits, mut message, mut refused) = (hub.pushed.limits(), Vec::new(), Refused::default());
            remote_write::decompress(&block, &limits, &mut message)?;
            let decode = |visit: &mut dyn FnMut(Said<'_>)| {
                Ok(remote_write::decode(version, &message, &limits, visit)?)
            };
            let (outcome, waiting) =
                hub.pushed.take(&format!("{PREFIX}{sender}"), hub.now_ms(), &mut refused, decode)?;
            note_outcome(&outcome, &mut refused);
            Ok::<_, PushFault>((waiting, refused))
        });
        let (waiting, mut refused) = taking.await.context("taking in a push broke off")??;
        let n_samples = settled(waiting, &mut refused).await?;
        Ok(Receipt { written: Written { n_samples, ..Written::default() }, refused })
    }

    /// Takes in metrics of OTLP, uncompressed. The answer says what was rejected, once the rest is
    /// on the disk.
    pub async fn push_otlp_metrics(
        self: Arc<Self>,
        sender: String,
        message: bytes::Bytes,
    ) -> Result<Rejections, PushFault> {
        let _turn = self.pushed.turn().await?;
        let hub = Arc::clone(&self);
        let taking = tokio::task::spawn_blocking(move || {
            let (limits, now_ms, mut refused) = (hub.pushed.limits(), hub.now_ms(), Refused::default());
            let decode =
                |visit: &mut dyn FnMut(Said<'_>)| Ok(otlp::decode_metrics(&message, &limits, now_ms, visit)?);
            let (rejections, waiting) =
                hub.pushed.take(&format!("{PREFIX}{sender}"), now_ms, &mut refused, decode)?;
            Ok::<_, PushFault>((rejections, waiting, refused))
        });
        let (mut rejections, waiting, mut refused) = taking.await.context("taking in a push broke off")??;
        settled(waiting, &mut refused).await?;
        reject(&mut rejections, &refused);
        Ok(rejections)
    }
}

async fn settled(waiting: Option<Waiting>, refused: &mut Refused) -> Result<u64, PushFault> {
    match waiting {
        Some(waiting) => waiting.settle(refused).await,
        None => Ok(0),
    }
}

/// Adds what the hub refused to what the reader of OTLP rejected.
fn reject(rejections: &mut Rejections, refused: &Refused) {
    for (position, reason) in refused.reasons.iter().enumerate() {
        rejections.add("", if position == 0 { refused.n_samples } else { 0 }, reason);
    }
}

/// What the reader of the format refused.
fn note_outcome(outcome: &Outcome, refused: &mut Refused) {
    if outcome.n_series_refused > 0 {
        refused.add(outcome.n_samples_refused, outcome.to_string());
    }
}
