//! Starting a shim: its folder, its order, its process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use fieldpost_model::job::{Cause, Job, OutputKind, Run};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::account::{self, User};
use super::config::Config;
use super::failpoint::Failpoint;
use super::identity;
use super::keeper_link::{Forked, Keeper};
use super::protocol::{CgroupPlaces, Order, SHIM_LOG_FILE};
use super::row::Levels;

/// This very binary, also when the file it came from was replaced or removed.
const OWN_BINARY: &str = "/proc/self/exe";
/// Where programs are looked for, unless a job says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The run as it was accepted, for whoever finds its folder and nothing else.
pub const RUN_FILE: &str = "run.json";

/// What runs are told of where they run.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The agent's name.
    pub agent: String,
    /// Where cgroups may be made.
    pub cgroups: CgroupPlaces,
    /// Where a test ends this process or its shims.
    pub failpoint: Failpoint,
}

/// A shim that was started.
pub struct Launched {
    /// A handle on it.
    pub pidfd: OwnedFd,
    /// It says here that the command runs, and closes it when it ends.
    pub news: OwnedFd,
}

/// The folder of a start of a run.
pub fn attempt_folder(runs: &Path, id: &str, attempt: u32) -> PathBuf {
    runs.join(id).join(attempt.to_string())
}

/// What came of a start.
pub enum Launch {
    /// The shim is there.
    Done(Launched),
    /// It may be there or not: the run's folder tells.
    Unknown(anyhow::Error),
}

/// Starts the shim of this run. Its number of starts says which folder it gets.
pub fn launch(
    runs: &Path,
    run: &Run,
    secrets: &BTreeMap<String, String>,
    config: &Config,
    surroundings: &Surroundings,
    keeper: &Keeper,
) -> anyhow::Result<Launch> {
    let failpoint = &surroundings.failpoint;
    let order = order(run, secrets, config, surroundings)?;
    failpoint.reach("launch_before_folder");
    let folder = attempt_folder(runs, &run.id, run.attempt);
    let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fs::write(folder.join(RUN_FILE), serde_json::to_vec(run)?)
        .context("cannot write into the run's folder")?;
    failpoint.reach("launch_after_record");
    let stdin = run.job.stdin.as_deref().unwrap_or_default();
    let order = order_file(&order, stdin).context("cannot write the order of the shim")?;
    let (news, says) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let log = File::options().create(true).append(true).open(folder.join(SHIM_LOG_FILE))?;
    failpoint.reach("launch_after_order");
    let place = File::open(&folder).context("cannot open the run's folder")?;
    let forked = keeper.fork(&run.id, [order.as_fd(), says.as_fd(), log.as_fd(), place.as_fd()]);
    drop(place);
    let pidfd = match forked {
        Ok(Forked::Shim(pidfd)) => pidfd,
        Ok(Forked::Nobody) => started_alone(run, &folder, (order, says, log))?,
        Err(error) => return Ok(Launch::Unknown(error)),
    };
    failpoint.reach("launch_after_shim");
    Ok(Launch::Done(Launched { pidfd, news }))
}

/// Without a keeper: a shim that is started by itself does the same, and is larger.
fn started_alone(
    run: &Run,
    folder: &Path,
    (order, says, log): (OwnedFd, OwnedFd, File),
) -> anyhow::Result<OwnedFd> {
    let mut command = Command::new(OWN_BINARY);
    command.arg0("fieldpost").arg("shim").arg(&run.id).env_clear().current_dir(folder);
    command.stdin(Stdio::from(order)).stdout(Stdio::from(says)).stderr(Stdio::from(log));
    let child = command.spawn().context("cannot start the shim")?;
    // The child is ours and not waited for, so that its number is nobody else's.
    let (_, pidfd) = identity::of_pid(child.id()).context("the shim cannot be watched")?;
    Ok(pidfd)
}

/// A file without a name: nothing of it is ever on a disk.
fn order_file(order: &Order, stdin: &str) -> anyhow::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(order)?)?;
    file.write_all(b"\n")?;
    file.write_all(stdin.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn order(
    run: &Run,
    secrets: &BTreeMap<String, String>,
    config: &Config,
    surroundings: &Surroundings,
) -> anyhow::Result<Order> {
    let job = &run.job;
    let own = account::own();
    let user = match (&job.user, &job.group) {
        (None, None) => None,
        (user, group) => Some(account::find(user.as_deref().unwrap_or(&own.name), group.as_deref())?),
    };
    let secrets = with_files(secrets, &job.secret_files)?;
    let env = environment(run, user.as_ref().unwrap_or(&own), &secrets, surroundings);
    let home = user.as_ref().unwrap_or(&own).home.clone();
    let fallback = if home.is_dir() { home } else { "/".into() };
    let is_other = |user: &User| user.account.uid != own.account.uid || user.account.gid != own.account.gid;
    Ok(Order {
        run: run.id.clone(),
        attempt: run.attempt,
        nonce: uuid::Uuid::now_v7().simple().to_string() + &random_digits()?,
        argv: run.argv(),
        env,
        masked: secrets.into_values().collect(),
        dir: job.dir.clone().unwrap_or(fallback),
        account: user.filter(is_other).map(|user| user.account),
        timeout_ms: job.timeout.0.as_millis() as u64,
        output_timeout_ms: job.output_timeout.0.as_millis() as u64,
        kill_grace_ms: job.kill_grace.0.as_millis() as u64,
        head_bytes: config.head.0,
        tail_bytes: config.tail.0,
        levels: job.output == OutputKind::Levels,
        heard_levels: ranges(job.loglevels.as_deref())?,
        kept_levels: kept_levels(job)?,
        stats_interval_ms: job.stats_interval.0.as_millis() as u64,
        failpoint: surroundings.failpoint.clone(),
        limits: job.limits.or(&config.limits),
        limits_required: job.limits_required,
        cgroups: surroundings.cgroups.clone(),
    })
}

fn ranges(text: Option<&str>) -> anyhow::Result<Option<Vec<(u8, u8)>>> {
    let levels = text.map(str::parse::<Levels>).transpose().map_err(anyhow::Error::msg)?;
    Ok(levels.map(|levels| levels.ranges().to_vec()))
}

/// What is heard and to be stored.
fn kept_levels(job: &Job) -> anyhow::Result<Option<Vec<(u8, u8)>>> {
    let read = |text: &Option<String>| text.as_deref().map(str::parse::<Levels>).transpose();
    let (heard, stored) = (read(&job.loglevels), read(&job.loglevels_store));
    let (heard, stored) = (heard.map_err(anyhow::Error::msg)?, stored.map_err(anyhow::Error::msg)?);
    let both = match (heard, stored) {
        (Some(heard), Some(stored)) => Some(heard.and(&stored)),
        (heard, stored) => heard.or(stored),
    };
    Ok(both.map(|levels| levels.ranges().to_vec()))
}

fn random_digits() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    let mut source = File::open("/dev/urandom").context("cannot draw random numbers")?;
    std::io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The secrets that were given, and those that stand in files.
fn with_files(
    given: &BTreeMap<String, String>,
    files: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut secrets = given.clone();
    for (name, file) in files {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the secret {name} from {}", file.display()))?;
        secrets.insert(name.clone(), text.trim_end_matches('\n').to_owned());
    }
    Ok(secrets)
}

/// Everything that a command finds in its environment; what the job sets wins.
fn environment(
    run: &Run,
    user: &User,
    secrets: &BTreeMap<String, String>,
    surroundings: &Surroundings,
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(env.insert(name.to_owned(), value.to_owned()));
    set("PATH", PATH);
    set("HOME", &user.home.to_string_lossy());
    set("USER", &user.name);
    set("LOGNAME", &user.name);
    set("SHELL", if user.shell.is_empty() { "/bin/sh" } else { &user.shell });
    set("FIELDPOST_AGENT", &surroundings.agent);
    set("FIELDPOST_RUN", &run.id);
    set("FIELDPOST_JOB", &run.job.name);
    set("FIELDPOST_DOMAIN", &run.job.domain);
    if let Cause::Slot { slot_ms, .. } = run.cause {
        set("FIELDPOST_SLOT_MS", &slot_ms.to_string());
    }
    for (name, value) in run.job.filled_env(&run.params).iter().chain(secrets) {
        set(name, value);
    }
    env.into_iter().collect()
}
