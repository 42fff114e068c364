//! One sink at work: reads what its receiver lacks, the oldest first, sends it, and acknowledges what
//! was taken or refused for good.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fieldpost_formats::remote_write::Version;
use fieldpost_model::{Intervals, Selector, Seq, Stream};
use fieldpost_store::Store;
use fieldpost_store::codec::decode_window;
use fieldpost_store::record::Subscription;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::{Kind, Protocol, Sink as Config};
use super::encode::{Dialect, requests};
use super::reading::{Choice, Meanings, Read, Reading, Step};
use super::sending::{Sending, Sent};
use super::stats::SinkStats;

/// What series are of where the config says nothing else.
const JOB: &str = "fieldpost";
/// How often it is looked for new windows even if none was told of.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after the store could not be read.
const FAULT_PAUSE: Duration = Duration::from_secs(5);

/// Where a sink is in the numbering of the present spool.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    spool_id: String,
    next: Seq,
}

/// See the head of the file.
pub(super) struct Sink {
    store: Arc<Store>,
    config: Config,
    stats: Arc<SinkStats>,
    reading: Option<Reading>,
    sending: Sending,
    dialect: Dialect,
    place: Option<Place>,
    newest: watch::Receiver<Seq>,
    _told: Subscription,
}

impl Sink {
    pub(super) fn new(
        store: Arc<Store>,
        config: Config,
        host: &str,
        stats: Arc<SinkStats>,
    ) -> anyhow::Result<Self> {
        let selectors = config.selectors.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>();
        let mut labels = config.labels.clone();
        labels.entry("instance".to_owned()).or_insert_with(|| host.to_owned());
        labels.entry("job".to_owned()).or_insert_with(|| JOB.to_owned());
        let choice = Choice { selectors: selectors?, labels };
        let (tell, newest) = watch::channel(0);
        let counts = Arc::clone(&stats);
        let told = store.on_stored(Arc::new(move |stream, seq| {
            if stream == Stream::Metrics {
                SinkStats::set(&counts.newest, seq);
                tell.send_replace(seq);
            }
        }));
        let dialect = match (config.kind, config.protocol) {
            (Kind::Otlp, _) => Dialect::Otlp,
            (Kind::RemoteWrite, Protocol::V1) => Dialect::RemoteWrite(Version::V1),
            (Kind::RemoteWrite, Protocol::Auto | Protocol::V2) => Dialect::RemoteWrite(Version::V2),
        };
        let sending = Sending::new(config.clone(), Arc::clone(&stats))?;
        let reading = Some(Reading::new(Arc::clone(&store), choice));
        Ok(Self { store, config, stats, reading, sending, dialect, place: None, newest, _told: told })
    }

    /// Goes on until the end. What was sent and not acknowledged then is sent again.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let turn = tokio::select! {
                () = shutdown.cancelled() => return,
                turn = self.turn() => turn,
            };
            if let Err(error) = turn {
                let sink = &self.config.name;
                tracing::error!(
                    sink,
                    error = format!("{error:#}"),
                    "the record cannot be read for this sink"
                );
                self.place = None;
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(FAULT_PAUSE) => {}
                }
            }
        }
    }

    /// Sends a few windows, or waits for the next one.
    async fn turn(&mut self) -> anyhow::Result<()> {
        self.newest.mark_unchanged();
        let record = self.store.record();
        let last = record.streams.get(&Stream::Metrics).map_or(0, |span| span.last);
        let Place { next, spool_id } = match self.place.take() {
            Some(place) if place.spool_id == record.spool_id => place,
            _ => Place { next: self.first_owed().await?, spool_id: record.spool_id },
        };
        SinkStats::set(&self.stats.newest, last);
        SinkStats::set(&self.stats.next, next);
        self.place = Some(Place { spool_id: spool_id.clone(), next });
        if next > last {
            // It is looked anew in any case.
            drop(tokio::time::timeout(LOOK_EVERY, self.newest.changed()).await);
            return Ok(());
        }
        let Step { read, next: after } = self.read(next, last).await?;
        for read in read {
            match read {
                Read::Window(item, meanings) => self.push(&item.blob, &meanings).await,
                Read::Lost(n) => SinkStats::add(&self.stats.lost, n),
            }
        }
        self.acknowledge(spool_id.clone(), next, after).await?;
        SinkStats::set(&self.stats.next, after);
        self.place = Some(Place { spool_id, next: after });
        Ok(())
    }

    /// The first number that this sink has not acknowledged.
    async fn first_owed(&self) -> anyhow::Result<Seq> {
        let (store, cursor) = (Arc::clone(&self.store), self.config.cursor());
        let cursors = tokio::task::spawn_blocking(move || store.cursors()).await;
        let cursors = cursors.context("reading the cursor broke off")?;
        let own = cursors.iter().find(|status| status.hub == cursor);
        let own = own.with_context(|| format!("the store knows no cursor {cursor}"))?;
        Ok(own.streams.get(&Stream::Metrics).map_or(1, |status| status.whole_up_to + 1))
    }

    async fn read(&mut self, from: Seq, to: Seq) -> anyhow::Result<Step> {
        let mut reading = self.reading.take().context("the last read broke off; restart the agent")?;
        let read = tokio::task::spawn_blocking(move || {
            let step = reading.step(from, to);
            (reading, step)
        });
        let (reading, step) = read.await.context("reading the record broke off")?;
        self.reading = Some(reading);
        Ok(step?)
    }

    async fn push(&mut self, blob: &[u8], meanings: &Meanings) {
        let groups = match decode_window(blob) {
            Ok(groups) => groups,
            Err(error) => {
                tracing::error!(sink = self.config.name, %error, "a window cannot be read; it is not sent");
                SinkStats::add(&self.stats.lost, 1);
                return;
            }
        };
        let mut n_done = 0;
        loop {
            let all = requests(self.dialect, &groups, meanings);
            let n_all = all.len();
            for request in all.into_iter().skip(n_done) {
                if self.send(request).await {
                    n_done += 1;
                } else {
                    break;
                }
            }
            if n_done == n_all {
                return;
            }
        }
    }

    /// Sends a request; false if it has to be written anew in 1.0.
    async fn send(&mut self, request: super::encode::Request) -> bool {
        let n_samples = request.n_samples;
        match self.sending.send(self.dialect, request).await {
            Sent::Taken { .. } => true,
            Sent::FallBack if self.config.protocol == Protocol::Auto => {
                tracing::info!(
                    sink = self.config.name,
                    "the receiver does not speak remote write 2.0; 1.0 is used"
                );
                self.dialect = Dialect::RemoteWrite(Version::V1);
                false
            }
            Sent::FallBack => {
                let sink = &self.config.name;
                tracing::warn!(sink, "the receiver does not speak remote write 2.0; set protocol: auto");
                SinkStats::add(&self.stats.refused, n_samples);
                true
            }
        }
    }

    async fn acknowledge(&self, spool_id: String, from: Seq, after: Seq) -> anyhow::Result<()> {
        let (store, cursor) = (Arc::clone(&self.store), self.config.cursor());
        let noted = tokio::task::spawn_blocking(move || {
            store.acknowledge(
                &cursor,
                &spool_id,
                Stream::Metrics,
                &Intervals::of(from, after.saturating_sub(1)),
            )
        });
        noted.await.context("noting what was sent broke off")?.context("cannot note what was sent")
    }
}
