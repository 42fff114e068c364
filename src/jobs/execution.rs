//! The way of a run: its turn comes, its shim is started, it is watched until that ends, and what
//! it came to is written down. The same for runs that are found again after the agent's own end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use fieldpost_model::TimeMs;
use fieldpost_model::job::{Run, RunState};
use fieldpost_store::{JobsChange, JobsFile, RunQuery, Written};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::config::Config;
use super::failpoint::Failpoint;
use super::handle::{Clock, Jobs, Shared};
use super::hooks::N_CALLS_MAX;
use super::keeper_link::Keeper;
use super::launch::{Launch, Launched, Surroundings, attempt_folder, launch};
use super::presence::Presence;
use super::protocol::{ENDED_FILE, Ended, SHIM_LOG_FILE, STARTED_FILE, Start, Started};
use super::recovery::{self, Found};
use super::standing::Standing;
use super::state::State;
use super::tally::Tallies;
use super::{durable, end};
use crate::seal::Seal;

/// So many runs of agents before this one say what is usual.
const N_REMEMBERED: usize = 500;
/// Between two tries to write down how a run ended, where the disk refuses.
const SETTLE_PAUSE: Duration = Duration::from_secs(5);
/// So much is shown of what a shim said of its own trouble, characters.
const SHIM_WORDS_MAX: usize = 300;
/// The longest that a timer sleeps at once: the wall clock may be set meanwhile.
const TIMER_MAX: Duration = Duration::from_secs(30);

/// With what the jobs begin.
pub struct JobsOptions {
    /// The folder that is theirs; it is made if need be.
    pub folder: PathBuf,
    /// Their settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The agent's name.
    pub agent: String,
    /// Where their tasks run.
    pub runtime: Handle,
    /// Where a test ends this process or its shims.
    pub failpoint: Failpoint,
}

impl Jobs {
    /// Opens the jobs and finds every run again that was not over. Nothing that waits begins
    /// before `go` is called.
    pub fn open(options: JobsOptions) -> anyhow::Result<Self> {
        let runs = options.folder.join("runs");
        make_folder(&runs).with_context(|| format!("cannot make the folder {}", runs.display()))?;
        let (file, opened) = JobsFile::open(&options.folder, (options.clock)())?;
        let cgroups = super::places::find(&options.folder, options.config.cgroup.as_deref());
        let surroundings = Surroundings { agent: options.agent, cgroups, failpoint: options.failpoint };
        let standing = Standing::open(&options.folder, (options.clock)());
        let shared = Shared {
            config: Mutex::new(options.config),
            runs,
            file,
            clock: options.clock,
            surroundings,
            keeper: Keeper::default(),
            state: Mutex::new(State::default()),
            changed: watch::Sender::new(0),
            written: watch::Sender::new(0),
            runtime: options.runtime,
            ending: AtomicBool::new(false),
            standing,
            nonces: Mutex::default(),
            tasks: Mutex::default(),
            ticker: tokio::sync::Mutex::default(),
            presence: Presence::default(),
            going: AtomicBool::new(false),
            samples: Mutex::default(),
            tallies: Tallies::default(),
            seal: Seal::open(&options.folder)?,
            hook_places: Arc::new(tokio::sync::Semaphore::new(N_CALLS_MAX)),
        };
        let jobs = Self { shared: Arc::new(shared) };
        jobs.tell_of_commits();
        if opened.put_aside.is_some() {
            jobs.adopt()?;
        }
        let newest = RunQuery { limit: N_REMEMBERED, ..RunQuery::default() };
        jobs.shared.tallies.remember(&jobs.shared.file.runs(&newest)?.runs);
        jobs.recover(&options.folder)?;
        jobs.remember_tasks()?;
        Ok(jobs)
    }

    /// Takes up runs of which only the folders are left.
    fn adopt(&self) -> anyhow::Result<()> {
        let is_known = |id: &str| self.shared.file.run(id).is_ok_and(|run| run.is_some());
        for run in recovery::unknown(&self.shared.runs, is_known) {
            tracing::warn!(run = run.id, "a run is taken up from its folder");
            if let Written::Failed(error) = self.shared.file.write(vec![JobsChange::AddRun(run.into())]) {
                anyhow::bail!("cannot take up a run: {error}");
            }
        }
        Ok(())
    }

    fn recover(&self, folder: &Path) -> anyhow::Result<()> {
        let was_down = recovery::is_other_boot(folder)?;
        for run in self.shared.file.runs_going_on()? {
            let id = run.id.clone();
            let secrets = self.unsealed(&run);
            if matches!(run.state, RunState::Scheduled | RunState::Queued) {
                self.shared.state.lock().add(run.clone(), secrets);
                self.wait_again(&run);
                continue;
            }
            let found = recovery::find(&self.shared.runs, &run, self.now_ms(), was_down);
            let found = found.with_context(|| format!("cannot see what became of run {id}"))?;
            self.shared.state.lock().add(run, secrets);
            self.take_up(&id, found);
        }
        // Only what has been looked at counts as known in this boot.
        recovery::note_boot(folder).context("cannot note this boot")
    }

    /// The secrets of a run that an agent before this one has accepted.
    pub(super) fn unsealed(&self, run: &Run) -> BTreeMap<String, String> {
        if run.secret_names.is_empty() {
            return BTreeMap::new();
        }
        let sealed = self.shared.file.sealed(&run.id).map_err(anyhow::Error::from);
        match sealed.and_then(|sealed| self.shared.seal.unseal(&run.id, &sealed.unwrap_or_default())) {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::error!(run = run.id, "it runs without its secrets: {error:#}");
                BTreeMap::new()
            }
        }
    }

    fn wait_again(&self, run: &Run) {
        match run.due_ms.filter(|_| run.state == RunState::Scheduled) {
            None => self.shared.state.lock().enqueue(&run.id),
            Some(due_ms) => self.wait_for(run.id.clone(), due_ms),
        }
    }

    /// Goes on with a run that was found again.
    fn take_up(&self, id: &str, found: Found) {
        let now_ms = self.now_ms();
        let mut state = self.shared.state.lock();
        let Some(active) = state.get_mut(id) else { return };
        let run = &mut active.run;
        match found {
            Found::Alive(started, pidfd) => {
                end::note_start(run, &started);
                if run.state == RunState::Starting {
                    run.change(RunState::Running, started.time_ms, "");
                }
                let run = run.clone();
                state.goes_on(id);
                self.shared.nonces.lock().insert(id.to_owned(), started.nonce.clone());
                drop(self.submit(vec![JobsChange::PutRun(run.into())]));
                let (jobs, id) = (self.clone(), id.to_owned());
                self.shared.runtime.spawn(async move { jobs.watch(&id, pidfd).await });
                return;
            }
            Found::NeverBegan => {
                self.remove_cgroups(run);
                run.change(RunState::Queued, now_ms, "the agent ended before the command began");
                let run = run.clone();
                state.enqueue(id);
                drop(self.submit(vec![JobsChange::PutRun(run.into())]));
                return;
            }
            Found::Over(started, ended) => {
                if let Some(started) = started {
                    end::note_start(run, &started);
                    if run.state == RunState::Starting {
                        run.change(RunState::Running, started.time_ms, "");
                    }
                }
                end::note_end(run, &ended);
            }
            Found::Rebooted(started) => {
                if let Some(started) = started {
                    end::note_start(run, &started);
                }
                let text = match run.started_ms {
                    Some(_) => "the machine went down while it ran",
                    None => "the machine went down while it began; it is not known how far it came",
                };
                run.change(RunState::InterruptedByReboot, now_ms, text);
            }
            Found::Lost(started) => {
                if let Some(started) = started {
                    self.clear(run, &started);
                    end::note_start(run, &started);
                }
                end::note_lost(run, now_ms);
            }
        }
        let run = run.clone();
        drop(state);
        let jobs = self.clone();
        self.shared.runtime.spawn(async move { jobs.settle(run).await });
    }

    /// Begins what waits.
    pub fn go(&self) {
        self.dispatch();
        self.begin_tasks();
        self.begin_sampling();
        self.begin_upkeep();
    }

    /// A run whose time has not come yet.
    pub(super) fn wait_for(&self, id: String, due_ms: TimeMs) {
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            loop {
                let left = u64::try_from(due_ms - jobs.now_ms()).unwrap_or(0);
                if left == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(left).min(TIMER_MAX)).await;
            }
            let mut state = jobs.shared.state.lock();
            if let Some(active) = state.get_mut(&id)
                && active.run.state == RunState::Scheduled
                && !active.is_ending
            {
                active.run.change(RunState::Queued, jobs.now_ms(), "its time has come");
                let run = active.run.clone();
                drop(jobs.submit(vec![JobsChange::PutRun(run.into())]));
                state.enqueue(&id);
            }
            drop(state);
            jobs.dispatch();
        });
    }

    /// Starts every run whose turn it is.
    pub(super) fn dispatch(&self) {
        let max_runs = self.shared.config.lock().max_runs;
        while self.takes_new() {
            let mut state = self.shared.state.lock();
            let Some(id) = state.next(max_runs) else { break };
            let Some(active) = state.get_mut(&id) else { continue };
            active.run.attempt += 1;
            active.run.change(RunState::Starting, self.now_ms(), "");
            let run = active.run.clone();
            let secrets = active.secrets.clone();
            let written = self.submit(vec![JobsChange::PutRun(run.clone().into())]);
            drop(state);
            let jobs = self.clone();
            self.shared.runtime.spawn(async move {
                match written.await {
                    Ok(Written::Done) => jobs.start(run, secrets).await,
                    // What is not on the disk is not started.
                    Ok(Written::Failed(error)) => jobs.give_back(&run, &error.to_string()),
                    _ => {}
                }
            });
        }
    }

    /// The disk refused: the run waits again.
    fn give_back(&self, run: &Run, error: &str) {
        tracing::error!(run = run.id, "not started, for that cannot be recorded: {error}");
        let mut state = self.shared.state.lock();
        state.rests(&run.id);
        if let Some(active) = state.get_mut(&run.id) {
            active.run.attempt -= 1;
            active.run.change(RunState::Scheduled, self.now_ms(), "the disk refuses");
        }
        drop(state);
        let due_ms = self.now_ms() + SETTLE_PAUSE.as_millis() as i64;
        self.wait_for(run.id.clone(), due_ms);
    }

    /// Starts a run that is on the disk as one that starts.
    pub(super) fn begin(&self, run: Run) {
        let secrets = self.shared.state.lock().get(&run.id).map(|active| active.secrets.clone());
        let jobs = self.clone();
        self.shared.runtime.spawn(async move { jobs.start(run, secrets.unwrap_or_default()).await });
    }

    async fn start(&self, run: Run, secrets: BTreeMap<String, String>) {
        let id = run.id.clone();
        let jobs = self.clone();
        let launched = tokio::task::spawn_blocking(move || {
            let config = jobs.shared.config.lock().clone();
            let Shared { runs, surroundings, keeper, .. } = &*jobs.shared;
            launch(runs, &run, &secrets, &config, surroundings, keeper)
        });
        match launched.await.map_err(anyhow::Error::new).and_then(|launched| launched) {
            Ok(Launch::Done(launched)) => self.follow_start(&id, launched).await,
            Ok(Launch::Unknown(error)) => self.look_for(&id, &error),
            Err(error) => self.not_started(&id, &format!("{error:#}")).await,
        }
    }

    /// It may have been started or not: it is found as any that was left by an agent before.
    fn look_for(&self, id: &str, error: &anyhow::Error) {
        tracing::warn!(run = id, "it is looked for: {error:#}");
        let run = {
            let mut state = self.shared.state.lock();
            state.rests(id);
            let Some(active) = state.get(id) else { return };
            active.run.clone()
        };
        let jobs = self.clone();
        self.shared.runtime.spawn_blocking(move || {
            // A folder that cannot be read does not say that nothing began.
            let found = recovery::find(&jobs.shared.runs, &run, jobs.now_ms(), false);
            jobs.take_up(&run.id, found.unwrap_or(Found::Lost(None)));
            jobs.dispatch();
        });
    }

    async fn not_started(&self, id: &str, error: &str) {
        let run = {
            let mut state = self.shared.state.lock();
            state.rests(id);
            let Some(active) = state.get_mut(id) else { return };
            active.is_ending = true;
            let mut run = active.run.clone();
            run.change(RunState::Failed, self.now_ms(), error);
            run
        };
        self.settle(run).await;
    }

    async fn follow_start(&self, id: &str, launched: Launched) {
        let Launched { pidfd, news } = launched;
        let mut word = [0; 1];
        // Its first byte says that the command runs, its end that the shim has gone. It stays open:
        // by that the shim knows that somebody will write down how the run ends.
        let mut news = Receiver::from_owned_fd(news).ok();
        if let Some(news) = &mut news
            && news.read_exact(&mut word).await.is_ok()
        {
            self.note_running(id);
        }
        self.watch(id, pidfd).await;
        drop(news);
    }

    fn note_running(&self, id: &str) {
        self.shared.surroundings.failpoint.reach("running_before_commit");
        let mut state = self.shared.state.lock();
        let Some(active) = state.get_mut(id) else { return };
        let folder = attempt_folder(&self.shared.runs, id, active.run.attempt);
        let Some(started) = started_in(&folder) else { return };
        end::note_start(&mut active.run, &started);
        active.run.change(RunState::Running, started.time_ms, "");
        drop(self.submit(vec![JobsChange::PutRun(active.run.clone().into())]));
        self.shared.nonces.lock().insert(id.to_owned(), started.nonce.clone());
        let asked = active.asked_to_end.take();
        drop(state);
        self.tell();
        if let Some((signal, by)) = asked {
            let (jobs, id) = (self.clone(), id.to_owned());
            self.shared.runtime.spawn(async move { jobs.kill(&id, signal, &by).await });
        }
    }

    /// Waits for the end of a shim, and takes down what it says.
    #[allow(unsafe_code)] // For one call that cannot know who owns its descriptor.
    async fn watch(&self, id: &str, pidfd: OwnedFd) {
        // SAFETY: the descriptor is owned by what is registered, and closed with it.
        match unsafe { AsyncFd::register(pidfd) } {
            Ok(pidfd) => {
                // It is readable once the process has ended.
                let _ = pidfd.readable().await;
                reap(pidfd.get_ref());
            }
            Err(error) => tracing::error!(run = id, %error, "a shim cannot be watched"),
        }
        self.ended(id).await;
    }

    async fn ended(&self, id: &str) {
        let run = {
            let mut state = self.shared.state.lock();
            let Some(active) = state.get_mut(id) else { return };
            active.is_ending = true;
            let mut run = active.run.clone();
            let folder = attempt_folder(&self.shared.runs, id, run.attempt);
            let started = started_in(&folder);
            if let Some(started) = &started
                && run.state == RunState::Starting
            {
                end::note_start(&mut run, started);
                run.change(RunState::Running, started.time_ms, "");
            }
            match durable::read::<Ended>(&folder.join(ENDED_FILE)) {
                Ok(Some(ended)) => end::note_end(&mut run, &ended),
                _ => match &started {
                    Some(started) => {
                        self.clear(&run, started);
                        end::note_lost(&mut run, self.now_ms());
                    }
                    None => {
                        self.remove_cgroups(&run);
                        let text = format!("its shim did not come up: {}", shim_words(&folder));
                        run.change(RunState::Failed, self.now_ms(), text);
                    }
                },
            }
            state.rests(id);
            run
        };
        self.shared.nonces.lock().remove(id);
        self.dispatch();
        self.settle(run).await;
    }

    /// Ends what a lost shim has left.
    fn clear(&self, run: &Run, started: &Started) {
        recovery::clear(run, started);
        self.remove_cgroups(run);
    }

    fn remove_cgroups(&self, run: &Run) {
        let (id, attempt, jobs) = (run.id.clone(), run.attempt, self.clone());
        self.shared.runtime.spawn_blocking(move || {
            recovery::remove_cgroups(&id, attempt, &jobs.shared.surroundings.cgroups);
        });
    }

    /// Writes down how a run ended, until the disk takes it; only then it is over.
    pub(super) async fn settle(&self, mut run: Run) {
        self.shared.surroundings.failpoint.reach("end_before_commit");
        self.shared.tallies.count(&mut run);
        let secrets = self.shared.state.lock().get(&run.id).map(|active| active.secrets.clone());
        loop {
            let mut changes = vec![JobsChange::PutRun(run.clone().into())];
            if !run.secret_names.is_empty() {
                changes.push(JobsChange::RemoveSealed(run.id.clone()));
            }
            match self.submit(changes).await {
                Ok(Written::Failed(error)) if !self.shared.ending.load(Ordering::Acquire) => {
                    tracing::error!(run = run.id, "the end of a run cannot be recorded yet: {error}");
                    tokio::time::sleep(SETTLE_PAUSE).await;
                }
                Ok(Written::Failed(_)) | Err(_) => return,
                Ok(_) => break,
            }
        }
        self.shared.surroundings.failpoint.reach("end_after_commit");
        self.shared.state.lock().remove(&run.id);
        self.tell();
        self.dispatch();
        self.call_hooks(&run);
        // What follows is a run of its own, which ends here as well.
        Box::pin(self.follow_up(&run, secrets.unwrap_or_default())).await;
    }
}

fn started_in(folder: &Path) -> Option<Box<Started>> {
    match durable::read(&folder.join(STARTED_FILE)) {
        Ok(Some(Start::Started(started))) => Some(started),
        _ => None,
    }
}

/// What a shim said of its own trouble.
fn shim_words(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join(SHIM_LOG_FILE)).unwrap_or_default();
    text.trim().chars().take(SHIM_WORDS_MAX).collect()
}

/// Takes the shim from the table of processes if it is our child; one that was found again is
/// somebody else's.
fn reap(pidfd: &OwnedFd) {
    use std::os::fd::AsFd;

    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
