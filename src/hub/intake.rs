//! Draws the record of one agent over its link: the tail as it is sealed, and beside it what is
//! missing of the past, newest first. What is committed is acknowledged; what is refused is
//! accounted for and said to the agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fieldpost_link::{Acknowledgement, FrameReader, ItemMark, RecordHead, RefusedItem, SeqSpan};
use fieldpost_model::hub_record::{Accepted, Batch, NotTaken, RecordWriter, Refusal, Unwritten};
use fieldpost_model::{Frame, Intervals, Lost, Seq, Stream};
use tokio::time::Instant;

use super::{Hub, Link};

/// Items that are asked for at once of the past.
const N_BACKLOG_ITEMS: u64 = 256;
/// Each round of a visit draws what was sealed during the one before.
const N_DRAIN_ROUNDS: usize = 8;
/// Frames that are handed to the store at once.
const N_BATCH_FRAMES: usize = 64;
/// Bytes of such frames.
const BATCH_BYTES: usize = 1 << 20;
/// What came of the past is stored at least this often: a slow link that breaks now and then
/// would bring the same items again and again.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// A tail must say something this often, if only that nothing is new.
const TAIL_DEADLINE: Duration = Duration::from_secs(30);
/// Pause when the store does not take more.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// Pause after the store could not write.
const UNWRITTEN_PAUSE: Duration = Duration::from_secs(3);
/// The most that an agent may say of one item.
const MARK_BYTES_MAX: usize = 1 << 10;
/// The word for numbers that the hub does not take.
const REFUSED: &str = "refused";

/// Draws everything until the link ends or is cancelled. While the store cannot write, on a full
/// disk, the link stays: the agent is well, keeps what it has, and is asked again.
pub async fn draw(hub: Arc<Hub>, link: Arc<Link>) -> anyhow::Result<()> {
    loop {
        match draw_on(Arc::clone(&hub), Arc::clone(&link)).await {
            Err(error) if error.is::<Unwritten>() => {
                tracing::debug!(agent = link.agent_id, "it is asked again: {error:#}");
                tokio::time::sleep(UNWRITTEN_PAUSE).await;
            }
            drawn => return drawn,
        }
    }
}

async fn draw_on(hub: Arc<Hub>, link: Arc<Link>) -> anyhow::Result<()> {
    let head = settled_head(&hub, &link).await?;
    acknowledge_known(&hub, &link, &head).await?;
    let mut streams = tokio::task::JoinSet::new();
    for stream in Stream::ALL {
        let span = head.streams.get(&stream).copied().unwrap_or(SeqSpan { first: 1, last: 0 });
        let spool_id = head.spool_id.clone();
        let intake = Arc::new(Intake { hub: Arc::clone(&hub), link: Arc::clone(&link), spool_id, stream });
        let tail = Arc::clone(&intake);
        streams.spawn(async move { tail.tail(span.last).await });
        streams.spawn(async move { intake.backlog(span).await });
    }
    while let Some(done) = streams.join_next().await {
        done.context("drawing the record broke off")??;
    }
    Ok(())
}

/// Draws what is missing until nothing is, and then ends: a visit.
pub async fn drain(hub: Arc<Hub>, link: Arc<Link>) -> anyhow::Result<()> {
    for round in 0..N_DRAIN_ROUNDS {
        let head = settled_head(&hub, &link).await?;
        if round == 0 {
            acknowledge_known(&hub, &link, &head).await?;
        }
        let mut streams = tokio::task::JoinSet::new();
        for (stream, span) in head.streams {
            let (hub, link, spool_id) = (Arc::clone(&hub), Arc::clone(&link), head.spool_id.clone());
            let intake = Intake { hub, link, spool_id, stream };
            if intake.misses_any(span) {
                streams.spawn(async move { intake.backlog(span).await });
            }
        }
        if streams.is_empty() {
            return Ok(());
        }
        while let Some(done) = streams.join_next().await {
            done.context("drawing the record broke off")??;
        }
    }
    Ok(())
}

/// What the agent has. If the hub knows numbers that the agent has not given yet, or under which
/// it now has something else, the agent was put back to an earlier state: it begins a new spool,
/// so that nothing new is taken for known.
async fn settled_head(hub: &Hub, link: &Link) -> anyhow::Result<RecordHead> {
    let head: RecordHead = link.get_json("/v1/record").await.context("the agent does not tell its record")?;
    ensure!(
        head.agent_id == link.agent_id,
        "the agent calls itself {}, its certificate {}",
        head.agent_id,
        link.agent_id
    );
    if !was_put_back(hub, link, &head).await? {
        return Ok(head);
    }
    tracing::warn!(
        agent = link.agent_id,
        spool = head.spool_id,
        "the agent was put back; it begins a new spool"
    );
    let reason = serde_json::json!({ "reason": "the hub has other items of this spool than the agent" });
    let renewed: RecordHead = link.post_json("/v1/record/spool", &reason).await?;
    ensure!(renewed.spool_id != head.spool_id, "the agent keeps a spool that is not what the hub knows");
    Ok(renewed)
}

/// Tells the agent of everything that is here already. An acknowledgement may have been lost with
/// the link that it was said on, and nobody asks for its items again.
async fn acknowledge_known(hub: &Hub, link: &Link, head: &RecordHead) -> anyhow::Result<()> {
    let known = |stream| hub.store.progress(&link.agent_id, &head.spool_id, stream);
    let streams = Stream::ALL.into_iter().map(|stream| (stream, known(stream)));
    let streams: BTreeMap<_, _> = streams.filter(|(_, known)| !known.is_empty()).collect();
    if streams.is_empty() {
        return Ok(());
    }
    acknowledge(link, Acknowledgement { spool_id: head.spool_id.clone(), streams, refused: Vec::new() }).await
}

async fn acknowledge(link: &Link, acknowledgement: Acknowledgement) -> anyhow::Result<()> {
    let told = link.tell("/v1/record/ack", &acknowledgement).await;
    told.context("the agent does not take the acknowledgement")
}

/// Does the agent's record contradict what is here of it? An agent that was put back and went on
/// alone may have numbered on beyond what the hub knows: then only the items tell.
async fn was_put_back(hub: &Hub, link: &Link, head: &RecordHead) -> anyhow::Result<bool> {
    for stream in Stream::ALL {
        let span = head.streams.get(&stream).copied().unwrap_or(SeqSpan { first: 1, last: 0 });
        let known = hub.store.progress(&link.agent_id, &head.spool_id, stream).last().unwrap_or(0);
        if known > span.last {
            return Ok(true);
        }
        let newest = hub.store.newest_item(&link.agent_id, &head.spool_id, stream);
        let Some(known) = newest.filter(|item| (span.first..=span.last).contains(&item.seq)) else {
            continue;
        };
        let path = format!("/v1/record/{}/{}", stream.as_str(), known.seq);
        let answer = link.get(&path).await.with_context(|| format!("cannot ask for {path}"))?;
        // What is no item any more tells nothing; an older agent does not know the question.
        if !answer.status().is_success() {
            continue;
        }
        let there: ItemMark = answer.into_body().json(MARK_BYTES_MAX).await?;
        if there.to_ms != known.to_ms || known.checksum.is_some_and(|checksum| checksum != there.checksum) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One stream of one spool of one agent.
struct Intake {
    hub: Arc<Hub>,
    link: Arc<Link>,
    spool_id: String,
    stream: Stream,
}

impl Intake {
    fn store(&self) -> &dyn RecordWriter {
        &*self.hub.store
    }

    fn misses_any(&self, span: SeqSpan) -> bool {
        let known = self.store().progress(&self.link.agent_id, &self.spool_id, self.stream);
        !known.missing(span.first.max(1), span.last).is_empty()
    }

    /// Takes what is sealed from now on.
    async fn tail(&self, after: Seq) -> anyhow::Result<()> {
        let path = format!("/v1/record/{}?after={after}", self.stream.as_str());
        let mut frames = self.frames(&path).await?;
        let mut batch = Collected::default();
        loop {
            let next = tokio::time::timeout(TAIL_DEADLINE, frames.next()).await;
            let Some(frame) = next.context("the agent has stopped telling what is new")?? else {
                bail!("the agent ended its tail");
            };
            self.link.heard(self.hub.now_ms());
            self.hub.live.heard(&self.link.agent_id, self.stream, &frame);
            let settled = matches!(frame, Frame::Newest(_)) || !frames.has_more();
            batch.push(frame);
            if settled || batch.is_full() {
                self.commit(batch.take()).await?;
            }
        }
    }

    /// Takes what is missing of the numbers that there were, newest first.
    async fn backlog(&self, span: SeqSpan) -> anyhow::Result<()> {
        let mut asked = Intervals::default();
        loop {
            let mut known = self.store().progress(&self.link.agent_id, &self.spool_id, self.stream);
            known.union(&asked);
            let missing = known.missing(span.first.max(1), span.last);
            let Some(&(from, to)) = missing.ranges().last() else { return Ok(()) };
            let from = from.max((to + 1).saturating_sub(N_BACKLOG_ITEMS));
            self.fetch(from, to).await?;
            asked.insert(from, to);
        }
    }

    async fn fetch(&self, from: Seq, to: Seq) -> anyhow::Result<()> {
        let stream = self.stream.as_str();
        let mut frames =
            self.frames(&format!("/v1/record/{stream}?from={from}&to={to}&order=newest")).await?;
        let mut batch = Collected::default();
        let mut committed = Instant::now();
        while let Some(frame) = frames.next().await? {
            self.link.heard(self.hub.now_ms());
            batch.push(frame);
            if batch.is_full() || (!frames.has_more() && committed.elapsed() >= COMMIT_EVERY) {
                self.commit(batch.take()).await?;
                committed = Instant::now();
            }
        }
        self.commit(batch.take()).await
    }

    async fn frames(&self, path: &str) -> anyhow::Result<FrameReader> {
        let answer = self.link.get(path).await.with_context(|| format!("cannot ask for {path}"))?;
        ensure!(answer.status().is_success(), "the agent answers {} to {path}", answer.status());
        Ok(FrameReader::new(answer.into_body()))
    }

    /// Stores frames, waits for the disk, and acknowledges what is on it. What is refused for good
    /// is stored as lost, so that nobody asks for it again.
    async fn commit(&self, frames: Vec<Frame>) -> anyhow::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        let Accepted { mut numbers, refused, .. } = self.append(frames).await?;
        if let Some(lacking) = refused.iter().find(|refusal| refusal.undefined) {
            // A new link brings all definitions again.
            bail!("an item cannot be read without definitions that are gone: {}", lacking.reason);
        }
        let lost = refused.iter().filter_map(|refusal| refusal.seq).map(|seq| Frame::Lost(accounted(seq)));
        let lost: Vec<Frame> = lost.collect();
        if !lost.is_empty() {
            numbers.union(&self.append(lost).await?.numbers);
        }
        if numbers.is_empty() && refused.is_empty() {
            return Ok(());
        }
        let acknowledgement = Acknowledgement {
            spool_id: self.spool_id.clone(),
            streams: [(self.stream, numbers)].into(),
            refused: refused.into_iter().map(|refusal| self.told(refusal)).collect(),
        };
        acknowledge(&self.link, acknowledgement).await
    }

    fn told(&self, refusal: Refusal) -> RefusedItem {
        RefusedItem { stream: self.stream, seq: refusal.seq.unwrap_or(0), reason: refusal.reason }
    }

    /// Hands frames to the store until it takes them. While its queue is full nothing more is read
    /// from the link, so that the agent waits as well.
    async fn append(&self, frames: Vec<Frame>) -> anyhow::Result<Accepted> {
        let (agent_id, spool_id) = (self.link.agent_id.clone(), self.spool_id.clone());
        let mut batch = Batch { agent_id, spool_id, stream: self.stream, frames };
        loop {
            let (done, committed) = tokio::sync::oneshot::channel();
            let done = move |answer| {
                // The link may have ended meanwhile; then the items come again and are known.
                let _ = done.send(answer);
            };
            match self.store().append(batch, Box::new(done)) {
                Ok(()) => return Ok(committed.await.context("the store has ended")??),
                Err(NotTaken::Full(waiting)) => batch = waiting,
                Err(NotTaken::Refused(reason)) => bail!("the hub takes nothing of this stream: {reason}"),
                Err(NotTaken::Closed) => bail!("the hub is ending"),
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }
}

/// A number that the hub does not take, so that nobody asks for it again.
fn accounted(seq: Seq) -> Lost {
    Lost { from: seq, to: seq, from_ms: 0, to_ms: 0, n_samples: 0, reason: REFUSED.to_owned() }
}

/// Frames that wait to be stored together.
#[derive(Default)]
struct Collected {
    frames: Vec<Frame>,
    n_bytes: usize,
    /// What must be said again before the next frames can be read on their own.
    scope: Option<String>,
}

impl Collected {
    fn push(&mut self, frame: Frame) {
        self.n_bytes += match &frame {
            Frame::Item(item) => item.blob.len(),
            Frame::Definitions(bytes) => bytes.len(),
            Frame::Scope(scope) => {
                self.scope = Some(scope.clone());
                scope.len()
            }
            Frame::Lost(_) => 64,
            Frame::Newest(_) => return,
        };
        self.frames.push(frame);
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= N_BATCH_FRAMES || self.n_bytes >= BATCH_BYTES
    }

    /// What there is. The next ones begin with the scope in which they are read.
    fn take(&mut self) -> Vec<Frame> {
        self.n_bytes = 0;
        let next = self.scope.iter().map(|scope| Frame::Scope(scope.clone())).collect();
        let frames = std::mem::replace(&mut self.frames, next);
        // A scope alone says nothing.
        if frames.iter().all(|frame| matches!(frame, Frame::Scope(_))) { Vec::new() } else { frames }
    }
}
