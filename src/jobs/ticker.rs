//! The scheduler of tokio-cron-scheduler, which says "now" and nothing else: which slot that is,
//! and whether it runs, is settled by whoever hears it. Its own arithmetic is not used, for it
//! forgets periods after a stall and shifts by an hour at changes of the clock: its metadata are
//! kept here, where the next tick of a task is always asked for anew.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use fieldpost_model::TimeMs;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{
    JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode, SimpleNotificationCode,
    SimpleNotificationStore,
};
use uuid::Uuid;

/// Ticks that are under way at a time, at most; what is lost beyond is found by the next sweep.
const N_TICKS_MAX: usize = 32_768;
/// What a task is registered with; never used.
const NOMINAL_PERIOD: Duration = Duration::from_secs(1);

/// When a task is due next, by its name.
pub type NextTick = Arc<dyn Fn(&str) -> Option<TimeMs> + Send + Sync>;

/// Told at once that a task's time has come, by its name.
pub type OnTick = Arc<dyn Fn(&str) + Send + Sync>;

/// Says of tasks, by name, that their time has come.
pub struct Ticker {
    scheduler: JobScheduler,
    ticks: Ticks,
    says: mpsc::Sender<String>,
    on_tick: OnTick,
}

impl Ticker {
    /// Starts the scheduler; within a runtime.
    pub async fn start(next: NextTick, on_tick: OnTick) -> anyhow::Result<(Self, mpsc::Receiver<String>)> {
        let ticks = Ticks { next, known: Arc::default() };
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::new(ticks.clone()),
            Box::new(SimpleNotificationStore::default()),
            Box::new(SimpleJobCode::default()),
            Box::new(SimpleNotificationCode::default()),
            N_TICKS_MAX,
        );
        let scheduler = scheduler.await.context("cannot make the scheduler")?;
        scheduler.start().await.context("cannot start the scheduler")?;
        let (says, hears) = mpsc::channel(N_TICKS_MAX);
        Ok((Self { scheduler, ticks, says, on_tick }, hears))
    }

    /// Registers a task; answers by what the scheduler knows it.
    pub async fn add(&self, name: &str) -> anyhow::Result<Uuid> {
        let (says, task, on_tick) = (self.says.clone(), name.to_owned(), Arc::clone(&self.on_tick));
        let job = tokio_cron_scheduler::Job::new_repeated_async(NOMINAL_PERIOD, move |_, _| {
            on_tick(&task);
            // Who is not heard is found by the next sweep.
            let _ = says.try_send(task.clone());
            Box::pin(async {})
        });
        let job = job.with_context(|| format!("the scheduler refuses the task {name}"))?;
        self.ticks.known.lock().insert(job.guid(), Known { name: name.to_owned(), data: None });
        self.scheduler.add(job).await.with_context(|| format!("the scheduler refuses the task {name}"))
    }

    /// Forgets a task.
    pub async fn remove(&self, id: &Uuid) {
        self.ticks.known.lock().remove(id);
        if let Err(error) = self.scheduler.remove(id).await {
            tracing::debug!(%error, "the scheduler does not forget a task; its ticks mean nothing");
        }
    }

    /// Asks anew when a task is due that has changed.
    pub fn refresh_one(&self, id: &Uuid) {
        let next = Arc::clone(&self.ticks.next);
        if let Some(Known { name, data: Some(data) }) = self.ticks.known.lock().get_mut(id) {
            data.next_tick = seconds(next(name));
        }
    }

    /// Asks anew when each task is due: the clock may have been set, or tasks have changed.
    pub fn refresh(&self) {
        let next = Arc::clone(&self.ticks.next);
        for known in self.ticks.known.lock().values_mut() {
            if let Some(data) = &mut known.data {
                data.next_tick = seconds(next(&known.name));
            }
        }
    }
}

/// A task as the scheduler knows it.
struct Known {
    name: String,
    data: Option<JobStoredData>,
}

/// The scheduler's metadata. What has to outlive the agent, the slots that are dealt with, is
/// written with the runs they lead to.
#[derive(Clone)]
struct Ticks {
    next: NextTick,
    known: Arc<Mutex<HashMap<Uuid, Known>>>,
}

/// In the scheduler's terms: whole seconds, never 0, which would have the task removed.
fn seconds(next_ms: Option<TimeMs>) -> u64 {
    let far = u64::try_from(DateTime::<Utc>::MAX_UTC.timestamp()).unwrap_or(u64::MAX) / 2;
    next_ms
        .and_then(|ms| u64::try_from(ms.div_euclid(1_000)).ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(far)
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

fn now<T: Send + 'static>(answer: T) -> Answer<T> {
    Box::pin(std::future::ready(Ok(answer)))
}

impl DataStore<JobStoredData> for Ticks {
    fn get(&mut self, id: Uuid) -> Answer<Option<JobStoredData>> {
        now(self.known.lock().get(&id).and_then(|known| known.data.clone()))
    }

    fn add_or_update(&mut self, mut data: JobStoredData) -> Answer<()> {
        let id = data.id.as_ref().map(Uuid::from);
        let mut all = self.known.lock();
        if let Some(known) = id.and_then(|id| all.get_mut(&id)) {
            data.next_tick = seconds((self.next)(&known.name));
            data.last_tick = None;
            known.data = Some(data);
        }
        now(())
    }

    fn delete(&mut self, id: Uuid) -> Answer<()> {
        self.known.lock().remove(&id);
        now(())
    }
}

impl InitStore for Ticks {
    fn init(&mut self) -> Answer<()> {
        now(())
    }

    fn inited(&mut self) -> Answer<bool> {
        now(true)
    }
}

impl MetaDataStorage for Ticks {
    fn list_next_ticks(&mut self) -> Answer<Vec<JobAndNextTick>> {
        let all = self.known.lock();
        let tick = |data: &JobStoredData| JobAndNextTick {
            id: data.id,
            job_type: data.job_type,
            next_tick: data.next_tick,
            last_tick: None,
        };
        now(all.values().filter_map(|known| known.data.as_ref()).map(tick).collect())
    }

    /// What the scheduler has worked out is not used.
    fn set_next_and_last_tick(
        &mut self,
        id: Uuid,
        _: Option<DateTime<Utc>>,
        _: Option<DateTime<Utc>>,
    ) -> Answer<()> {
        let mut all = self.known.lock();
        if let Some(Known { name, data: Some(data) }) = all.get_mut(&id) {
            data.next_tick = seconds((self.next)(name));
        }
        now(())
    }

    fn time_till_next_job(&mut self) -> Answer<Option<Duration>> {
        let at = u64::try_from(Utc::now().timestamp()).unwrap_or(0);
        let all = self.known.lock();
        let ticks = all.values().filter_map(|known| known.data.as_ref()).map(|data| data.next_tick);
        now(ticks.min().map(|tick| Duration::from_secs(tick.saturating_sub(at))))
    }
}
