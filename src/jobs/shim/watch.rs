//! The life of a run beside its shim: waits for output, for the end, for orders and for the times
//! at which something has to be done; and sees to it that nothing is left.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use fieldpost_model::TimeMs;
use fieldpost_model::job::{Enforcement, Outcome, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::super::protocol::{Action, Ended, Order, Reply, Request, Why};
use super::cgroup::Cgroups;
use super::output::Output;
use super::{child, now_ms, sys};

/// What a command leaves behind may go on for so long, to finish its output.
const LINGER: Duration = Duration::from_secs(1);
/// Between two kills of what does not die at once; each following pause is longer.
const KILL_PAUSE: Duration = Duration::from_millis(20);
/// What the kernel itself holds is killed again so rarely.
const KILL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest that somebody may take to say what they want.
const REQUEST_DEADLINE: Duration = Duration::from_millis(200);
/// The longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 4 << 10;
/// Without anything to do the shim looks about so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The command runs.
    Running,
    /// It was asked to end, and is killed then.
    Stopping(Instant),
    /// Everything is killed, and then again.
    Killing(Instant),
    /// The command has ended; what it left is killed then.
    Lingering(Instant),
}

/// A run that goes on.
pub struct Watch {
    order: Order,
    child: u32,
    began: Instant,
    began_ms: TimeMs,
    cgroups: Cgroups,
    limits: Vec<Enforcement>,
    output: Output,
    listener: UnixListener,
    signals: OwnedFd,
    fault: Option<OwnedFd>,
    phase: Phase,
    last_output: Instant,
    why: Option<Why>,
    stopping_ms: Option<TimeMs>,
    status: Option<(Result<i32, i32>, Instant)>,
    is_empty: bool,
    left_behind: bool,
    n_kills: u32,
}

impl Watch {
    /// A command that has just begun.
    #[allow(clippy::too_many_arguments)] // Each is another thing, and there is one caller.
    pub fn new(
        order: Order,
        child: u32,
        (began, began_ms): (Instant, TimeMs),
        cgroups: Cgroups,
        limits: Vec<Enforcement>,
        output: Output,
        listener: UnixListener,
        signals: OwnedFd,
    ) -> Self {
        Self {
            order,
            child,
            began,
            began_ms,
            cgroups,
            limits,
            output,
            listener,
            signals,
            fault: None,
            phase: Phase::Running,
            last_output: began,
            why: None,
            stopping_ms: None,
            status: None,
            is_empty: false,
            left_behind: false,
            n_kills: 0,
        }
    }

    /// Where the child says what it could not do.
    pub fn with_fault(mut self, fault: OwnedFd) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Goes on until nothing is left of the run.
    pub fn until_the_end(mut self) -> Ended {
        self.reap();
        while self.status.is_none() || !self.is_empty {
            let (signalled, asked, said) = self.wait();
            if signalled {
                sys::drain_signals(&self.signals);
            }
            if said && self.output.take() {
                self.last_output = Instant::now();
            }
            if asked {
                self.serve();
            }
            self.reap();
            self.output.flush_statistics();
            self.act(Instant::now());
        }
        self.output.finish();
        self.ended()
    }

    /// Waits until there is something: a child has ended, somebody asks, something was said.
    fn wait(&self) -> (bool, bool, bool) {
        let mut ends =
            vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        ends.extend(self.output.ends().map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)));
        let span = self.next_deadline().saturating_duration_since(Instant::now());
        let span = Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) };
        if poll(&mut ends, Some(&span)).is_err() {
            return (true, false, true);
        }
        let has_come = |end: &PollFd<'_>| !end.revents().is_empty();
        (has_come(&ends[0]), has_come(&ends[1]), ends[2..].iter().any(has_come))
    }

    fn next_deadline(&self) -> Instant {
        let flush = self.output.flush_after_ms().map(Duration::from_millis);
        let idle = Instant::now() + flush.map_or(IDLE, |flush| flush.min(IDLE));
        match self.phase {
            Phase::Stopping(at) | Phase::Killing(at) | Phase::Lingering(at) => at.min(idle),
            Phase::Running => {
                [self.times_out(), self.is_silent()].into_iter().flatten().fold(idle, Instant::min)
            }
        }
    }

    fn times_out(&self) -> Option<Instant> {
        let span = Duration::from_millis(self.order.timeout_ms);
        (!span.is_zero()).then(|| self.began.checked_add(span)).flatten()
    }

    fn is_silent(&self) -> Option<Instant> {
        let span = Duration::from_millis(self.order.output_timeout_ms);
        (!span.is_zero()).then(|| self.last_output.checked_add(span)).flatten()
    }

    /// Does what the time asks for.
    fn act(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        match self.phase {
            Phase::Running if is_due(self.times_out()) => self.stop(Why::Timeout),
            Phase::Running if is_due(self.is_silent()) => self.stop(Why::Silence),
            Phase::Stopping(at) | Phase::Killing(at) if now >= at => self.kill(),
            Phase::Lingering(at) if now >= at => {
                self.left_behind = true;
                self.kill();
            }
            _ => {}
        }
    }

    /// Asks the command to end.
    fn stop(&mut self, why: Why) {
        self.why = Some(why);
        self.stopping_ms = Some(now_ms());
        self.signal(Signal::TERM);
        // One that is stopped would not hear it.
        self.signal(Signal::CONT);
        self.phase = Phase::Stopping(Instant::now() + Duration::from_millis(self.order.kill_grace_ms));
    }

    /// The command's group: it is not taken yet, so that its number is nobody else's.
    fn signal(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(group) = Pid::from_raw(self.child.cast_signed())
        {
            // Between fork and setsid there is no group yet.
            if kill_process_group(group, signal).is_err() {
                let _ = kill_process(group, signal);
            }
        }
    }

    fn signal_command(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(command) = Pid::from_raw(self.child.cast_signed())
        {
            let _ = kill_process(command, signal);
        }
    }

    /// Kills all there is: the cgroup at once, then each child; what they leave becomes a child.
    fn kill(&mut self) {
        self.cgroups.kill();
        self.signal(Signal::KILL);
        let own = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // They are ours and not taken yet, so that their numbers are nobody else's.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.n_kills += 1;
        let pause = (KILL_PAUSE * self.n_kills).min(KILL_PAUSE_MAX);
        self.phase = Phase::Killing(Instant::now() + pause);
    }

    /// Takes every child that has ended.
    fn reap(&mut self) {
        loop {
            match sys::reap() {
                Ok(Some(reaped)) if reaped.pid == self.child => {
                    let now = Instant::now();
                    self.status = Some((reaped.status, now));
                    if !matches!(self.phase, Phase::Killing(_)) {
                        self.phase = Phase::Lingering(now + LINGER);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.is_empty = true;
                    return;
                }
            }
        }
    }

    /// Hears what somebody wants. Only who may open the run's folder gets here.
    fn serve(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let _ = stream.set_read_timeout(Some(REQUEST_DEADLINE));
        let _ = stream.set_write_timeout(Some(REQUEST_DEADLINE));
        let reply = match heard(&stream) {
            Some(request) if request.nonce == self.order.nonce => self.obey(request),
            Some(_) => Reply::Denied,
            None => return,
        };
        let line = serde_json::to_string(&reply).unwrap_or_default() + "\n";
        let _ = (&stream).write_all(line.as_bytes());
    }

    fn obey(&mut self, request: Request) -> Reply {
        if self.status.is_some() {
            // What it left behind is not waited for any longer.
            self.kill();
            return Reply::Over;
        }
        let asked = Why::Asked { by: request.by };
        match (request.action, self.phase) {
            (Action::Stop, Phase::Running) => {
                self.stop(asked);
                Reply::Done
            }
            (Action::Stop, _) => Reply::Already,
            (Action::Signal(libc::SIGKILL), _) => {
                self.why.get_or_insert(asked);
                self.stopping_ms.get_or_insert_with(now_ms);
                self.kill();
                Reply::Done
            }
            (Action::Signal(number), _) => {
                let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(&number);
                if ends && self.phase == Phase::Running {
                    self.why = Some(asked);
                    self.stopping_ms = Some(now_ms());
                }
                if let Some(signal) = Signal::from_named_raw(number) {
                    // Others mean something to the command alone, and end what it has started.
                    if ends { self.signal(signal) } else { self.signal_command(signal) }
                }
                Reply::Done
            }
        }
    }

    fn ended(mut self) -> Ended {
        let took = self.status.map_or(Duration::ZERO, |(_, at)| at.saturating_duration_since(self.began));
        let fault = self.fault.as_ref().and_then(|end| child::fault(end.as_fd()));
        let outcome = match (&fault, self.status) {
            (Some(error), _) => not_started(error, &self.order),
            (None, Some((Ok(code), _))) => Outcome::Exited { code },
            (None, Some((Err(signal), _))) => Outcome::Signalled { signal },
            (None, None) => {
                Outcome::NotStarted { code: 125, error: "it is not known how it ended".to_owned() }
            }
        };
        let usage = self.usage();
        if usage.oom_kills > 0 && self.why.is_none() && outcome.code() == 128 + libc::SIGKILL {
            self.why = Some(Why::OutOfMemory);
        }
        self.cgroups.remove();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ended {
            time_ms: now_ms().max(self.began_ms),
            took_ms,
            outcome,
            why: self.why,
            stopping_ms: self.stopping_ms,
            limits: self.limits,
            usage,
            output: self.output.counts(),
            data: self.output.data(),
            stats: self.output.stats(),
            left_behind: self.left_behind,
        }
    }

    fn usage(&self) -> Usage {
        let (user, system, memory, read, written) = sys::children_cost();
        let counted = Usage {
            cpu_user_seconds: user,
            cpu_system_seconds: system,
            memory_peak_bytes: memory,
            io_read_bytes: read,
            io_write_bytes: written,
            source: "wait4".to_owned(),
            ..Usage::default()
        };
        let Some(mut usage) = self.cgroups.usage() else { return counted };
        if usage.memory_peak_bytes == 0 {
            usage.memory_peak_bytes = counted.memory_peak_bytes;
        }
        if usage.io_read_bytes + usage.io_write_bytes == 0 {
            (usage.io_read_bytes, usage.io_write_bytes) = (counted.io_read_bytes, counted.io_write_bytes);
        }
        usage
    }
}

fn heard(stream: &UnixStream) -> Option<Request> {
    let mut line = String::new();
    BufReader::new(std::io::Read::take(stream, REQUEST_BYTES_MAX)).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// What a shell would make of it: 127 where there is no such program, 126 where it cannot be run.
fn not_started(error: &std::io::Error, order: &Order) -> Outcome {
    let dir = order.dir.display();
    let text = match error.raw_os_error() {
        _ if !order.dir.is_dir() => format!("cannot enter the folder {dir}: {error}"),
        _ => format!("cannot run {}: {error}", order.argv.first().map_or("", String::as_str)),
    };
    let code = if error.raw_os_error() == Some(libc::ENOENT) { 127 } else { 126 };
    Outcome::NotStarted { code, error: text }
}
