//! Agents that are made up, with real links: each joins a hub by its join string, dials it for ever
//! as a real one does, and serves the record of its windows. Thousands of them in one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use fieldpost_link::{
    Acknowledgement, Body, BodyError, Dialler, DiallerStats, Handler, Hello, HubUrl, Identity, Incoming,
    ItemMark, JoinRequest, JoinString, KeyRequest, LinkState, PAUSE_MAX, PROTOCOL, RecordHead, SeqSpan,
    Settings, chance, empty, encode, full, join_hub,
};
use fieldpost_model::{Frame, Item, Seq, Stream, TimeMs};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::Fleet;
use crate::fleet::SPOOL;

/// As real agents do, a tail on which nothing is new says so this often.
const NEWS_EVERY: Duration = Duration::from_secs(5);
/// Windows of one step of an answer.
const STEP_ITEMS: Seq = 64;
/// Agents that join at a time.
const N_JOIN: usize = 16;

/// A link that is dialled for ever, until this value ends.
pub struct Dialled {
    /// What is so of it.
    pub state: watch::Receiver<LinkState>,
    /// What happened.
    pub stats: Arc<DiallerStats>,
    cancel: CancellationToken,
}

impl Dialled {
    /// Is it up?
    pub fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Up { .. })
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Dials a hub as an agent with this identity, with the pauses of real ones, and serves it. Runs
/// within the runtime.
pub fn dial(urls: Vec<HubUrl>, agent_id: &str, identity: Identity, handler: Handler) -> Dialled {
    let (state, seen) = watch::channel(LinkState::Connecting);
    let (stats, cancel) = (Arc::new(DiallerStats::default()), CancellationToken::new());
    let hello = Hello {
        protocols: PROTOCOL,
        program: "made up".to_owned(),
        agent_id: agent_id.to_owned(),
        boot_id: "boot".to_owned(),
        spool_ids: vec![SPOOL.to_owned()],
        capabilities: Vec::new(),
    };
    let dialler = Dialler {
        urls,
        proxy: None,
        identity: Arc::new(move || identity.clone()),
        hello: Arc::new(move || hello.clone()),
        clock: Arc::new(now_ms),
        reconnect_max: PAUSE_MAX,
        random: Arc::new(chance),
        settings: Settings::default(),
        state,
        stats: Arc::clone(&stats),
        make_handler: Arc::new(move |_, _| Arc::clone(&handler)),
    };
    tokio::spawn(dialler.run(cancel.clone()));
    Dialled { state: seen, stats, cancel }
}

/// The wall clock.
pub fn now_ms() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs::try_from(since.as_millis()).unwrap_or_default()
}

/// A window as it is kept and as it is sent.
struct Sealed {
    item: Item,
    frame: Bytes,
}

/// What all agents of a swarm share.
struct Shared {
    fleet: Fleet,
    /// Window by window, one of each kind of agents.
    windows: RwLock<Vec<Vec<Sealed>>>,
    newest: watch::Sender<Seq>,
    one_by_one: AtomicBool,
    n_acknowledged: AtomicU64,
}

/// Agents of one hub.
pub struct Swarm {
    shared: Arc<Shared>,
    members: Vec<Member>,
    links: Vec<Dialled>,
}

/// One that has joined.
struct Member {
    agent: Arc<Agent>,
    urls: Vec<HubUrl>,
    identity: Identity,
}

impl Swarm {
    /// Lets all agents of a fleet join by this join string; none dials yet.
    pub async fn join(word: &str, fleet: Fleet) -> anyhow::Result<Self> {
        let word: Arc<JoinString> = Arc::new(word.trim().parse()?);
        let shared = Arc::new(Shared {
            fleet,
            windows: RwLock::default(),
            newest: watch::channel(0).0,
            one_by_one: AtomicBool::new(false),
            n_acknowledged: AtomicU64::new(0),
        });
        let places = Arc::new(Semaphore::new(N_JOIN));
        let mut joining = tokio::task::JoinSet::new();
        for number in 0..fleet.n_agents {
            let (word, shared, places) = (Arc::clone(&word), Arc::clone(&shared), Arc::clone(&places));
            joining.spawn(async move {
                let _place = places.acquire_owned().await?;
                join(&word, shared, number).await
            });
        }
        let mut members = Vec::new();
        while let Some(joined) = joining.join_next().await {
            members.push(joined??);
        }
        Ok(Self { shared, members, links: Vec::new() })
    }

    /// All dial now. Runs within the runtime.
    pub fn dial(&mut self) {
        self.links = self
            .members
            .iter()
            .map(|member| {
                let id = Fleet::agent_id(member.agent.number);
                let handler = serving(Arc::clone(&member.agent));
                dial(member.urls.clone(), &id, member.identity.clone(), handler)
            })
            .collect();
    }

    /// Links that are up.
    pub fn n_up(&self) -> usize {
        self.links.iter().filter(|link| link.is_up()).count()
    }

    /// Every agent seals so many windows more. `one_by_one`: from now on each sends a window only when
    /// the one before was acknowledged, as if it came as it is sealed; else all at once, as after an
    /// outage.
    pub fn seal(&self, n_windows: usize, one_by_one: bool) -> anyhow::Result<()> {
        let shared = &self.shared;
        shared.one_by_one.store(one_by_one, Ordering::Relaxed);
        let mut windows = shared.windows.write();
        for _ in 0..n_windows {
            let next = windows.len();
            let sealed = |kind| {
                let item = shared.fleet.window(kind, next);
                let mut frame = Vec::new();
                encode(&Frame::Item(item.clone()), &mut frame)?;
                anyhow::Ok(Sealed { item, frame: frame.into() })
            };
            windows.push((0..Fleet::N_KINDS).map(sealed).collect::<anyhow::Result<_>>()?);
        }
        let newest = windows.len() as Seq;
        drop(windows);
        shared.newest.send_replace(newest);
        Ok(())
    }

    /// Windows that the hub has acknowledged, of all agents together.
    pub fn n_acknowledged(&self) -> u64 {
        self.shared.n_acknowledged.load(Ordering::Relaxed)
    }

    /// Are all windows that were sealed acknowledged?
    pub fn is_drained(&self) -> bool {
        let n_sealed = *self.shared.newest.borrow() * self.shared.fleet.n_agents as u64;
        self.n_acknowledged() >= n_sealed
    }

    /// Bytes of all links so far, both ways, inside of their TLS.
    pub fn link_bytes(&self) -> u64 {
        let of = |link: &Dialled| link.stats.traffic.received() + link.stats.traffic.sent();
        self.links.iter().map(of).sum()
    }
}

async fn join(word: &JoinString, shared: Arc<Shared>, number: usize) -> anyhow::Result<Member> {
    let agent_id = Fleet::agent_id(number);
    let key = KeyRequest::new(&agent_id)?;
    let request = JoinRequest {
        token: word.token.clone(),
        request: key.request.clone(),
        agent_id: agent_id.clone(),
        name: Fleet::agent_name(number),
        details: serde_json::json!({ "version": "made up" }),
    };
    let (answer, url) = join_hub(word, None, &request).await.context("an agent cannot join")?;
    let identity = key.accept(answer.chain, answer.ca, &agent_id, &word.pin)?;
    let agent = Agent { shared, number, acknowledged: watch::channel(0).0, numbers: Mutex::default() };
    Ok(Member { agent: Arc::new(agent), urls: vec![url], identity })
}

/// The record of one agent.
struct Agent {
    shared: Arc<Shared>,
    number: usize,
    /// The last number that was acknowledged.
    acknowledged: watch::Sender<Seq>,
    numbers: Mutex<fieldpost_model::Intervals>,
}

fn serving(agent: Arc<Agent>) -> Handler {
    Arc::new(move |request| {
        let agent = Arc::clone(&agent);
        Box::pin(async move { agent.answer(request).await.map_err(BodyError::new) })
    })
}

impl Agent {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let body = match words[..] {
            ["v1", "record"] => full(serde_json::to_vec(&self.head())?),
            ["v1", "record", "ack"] if request.method() == Method::POST => {
                self.acknowledge(&request.into_body().collect().await?.to_bytes())?;
                empty()
            }
            ["v1", "record", stream] => {
                let stream: Stream = stream.parse().map_err(anyhow::Error::msg)?;
                self.record(stream, request.uri().query().unwrap_or_default())?
            }
            ["v1", "record", "metrics", seq] => match self.mark(seq.parse()?) {
                Some(mark) => full(serde_json::to_vec(&mark)?),
                None => return Ok(nothing_there()?),
            },
            _ => return Ok(nothing_there()?),
        };
        Ok(Response::new(body))
    }

    fn head(&self) -> RecordHead {
        let last = |stream| if stream == Stream::Metrics { *self.shared.newest.borrow() } else { 0 };
        let streams: BTreeMap<Stream, SeqSpan> = Stream::ALL
            .into_iter()
            .map(|stream| (stream, SeqSpan { first: 1, last: last(stream) }))
            .collect();
        RecordHead { agent_id: Fleet::agent_id(self.number), spool_id: SPOOL.to_owned(), streams }
    }

    fn mark(&self, seq: Seq) -> Option<ItemMark> {
        let windows = self.shared.windows.read();
        let sealed = windows.get(seq.checked_sub(1)? as usize)?.get(self.number % Fleet::N_KINDS)?;
        Some(ItemMark { seq, to_ms: sealed.item.to_ms, checksum: sealed.item.checksum })
    }

    fn acknowledge(&self, body: &[u8]) -> anyhow::Result<()> {
        let said: Acknowledgement = serde_json::from_slice(body)?;
        ensure!(said.refused.is_empty(), "the hub refuses {:?}", said.refused);
        let Some(new) = said.streams.get(&Stream::Metrics) else { return Ok(()) };
        let mut numbers = self.numbers.lock();
        let n_before = numbers.len();
        numbers.union(new);
        self.shared.n_acknowledged.fetch_add(numbers.len() - n_before, Ordering::Relaxed);
        let whole = numbers.whole_up_to(1);
        drop(numbers);
        self.acknowledged.send_replace(whole);
        Ok(())
    }

    /// The tail (`after=N`), or a part (`from=N&to=M`), of which the newest comes first.
    fn record(self: Arc<Self>, stream: Stream, query: &str) -> anyhow::Result<Body> {
        let number = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|number| number.parse::<Seq>().ok())
        };
        match (number("after"), number("from"), number("to")) {
            (Some(after), ..) => Ok(self.tail(stream, after)),
            (None, Some(from), Some(to)) => {
                let mut bytes = self.definitions()?;
                (from..=to).rev().for_each(|seq| bytes.extend(self.frames(seq, seq)));
                Ok(full(bytes))
            }
            _ => anyhow::bail!("{query} asks for nothing"),
        }
    }

    fn tail(self: Arc<Self>, stream: Stream, after: Seq) -> Body {
        let steps = stream::unfold((self, after + 1, false), move |(agent, next, described)| async move {
            let last = match stream {
                Stream::Metrics => tokio::time::timeout(NEWS_EVERY, agent.ready(next)).await.ok(),
                _ => {
                    tokio::time::sleep(NEWS_EVERY).await;
                    None
                }
            };
            let Some(last) = last else {
                let mut news = Vec::new();
                let told = encode(&Frame::Newest(next - 1), &mut news).map(|()| Bytes::from(news));
                return Some((told.map_err(BodyError::new), (agent, next, described)));
            };
            let head = if described { Ok(Vec::new()) } else { agent.definitions() };
            let bytes = head.map(|mut bytes| {
                bytes.extend(agent.frames(next, last));
                Bytes::from(bytes)
            });
            Some((bytes.map_err(BodyError::new), (agent, last + 1, true)))
        });
        StreamBody::new(steps.map(|bytes| bytes.map(hyper::body::Frame::data))).boxed_unsync()
    }

    /// Waits until the window of this number may be sent; the last one that may.
    async fn ready(&self, next: Seq) -> Seq {
        let mut newest = self.shared.newest.subscribe();
        // The sender lives as long as the agent.
        let last = newest.wait_for(|newest| *newest >= next).await.map_or(next, |newest| *newest);
        if !self.shared.one_by_one.load(Ordering::Relaxed) {
            return last.min(next + STEP_ITEMS - 1);
        }
        let mut acknowledged = self.acknowledged.subscribe();
        drop(acknowledged.wait_for(|last| last + 1 >= next).await);
        next
    }

    fn definitions(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for frame in self.shared.fleet.definitions(self.number) {
            encode(&frame, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn frames(&self, from: Seq, to: Seq) -> Vec<u8> {
        let windows = self.shared.windows.read();
        let of = |seq: Seq| windows.get(seq as usize - 1)?.get(self.number % Fleet::N_KINDS);
        (from..=to).filter_map(of).flat_map(|sealed| sealed.frame.iter().copied()).collect()
    }
}

fn nothing_there() -> Result<Response<Body>, http::Error> {
    Response::builder().status(StatusCode::NOT_FOUND).body(empty())
}
