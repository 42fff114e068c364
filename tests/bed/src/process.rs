//! A child process that cannot outlive its test: killed by its own handle when dropped, and by
//! the kernel when the test itself dies (`setpriv --pdeathsig`, of util-linux).

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, wait_for};

/// A running child; what it says goes into a log file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program. Its output, of both kinds, goes to `NAME.log` in `folder`.
    /// The child dies when the thread that called this ends: call it from the test's own.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: &[A],
        environment: &[(&str, &OsStr)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_at(&Place::here(), name, program, arguments, environment, folder)
    }

    /// The same on another host.
    pub fn start_at<A: AsRef<OsStr>>(
        place: &Place,
        name: &str,
        program: &Path,
        arguments: &[A],
        environment: &[(&str, &OsStr)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(place.words()).arg(program).args(arguments);
        // What it shows of itself to clients is not to be found by those of other tests.
        command.env("RUNTIME_DIRECTORY", folder).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).current_dir(folder);
        let child = command.spawn().context("cannot start setpriv; install util-linux")?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id: the program's own, for `setpriv` turns into the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks until the answer is `Some`; fails at once, with what the child said, when the child has ended.
    pub fn until<T>(&mut self, what: &str, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let mut ended = None;
        let answer = wait_for(what, || {
            let answer = ask().map(Some);
            if answer.is_none() {
                ended = self.child.try_wait().ok().flatten();
            }
            answer.or_else(|| ended.map(|_| None))
        });
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                anyhow::bail!("{} ended while waiting for {what}: {ended:?}\n{}", self.name, self.said())
            }
            Err(error) => Err(error.context(format!("{} said:\n{}", self.name, self.said()))),
        }
    }

    /// Sends a signal. The child is ours and not yet waited for, so its pid cannot be another's.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed()).context("a child has a pid above 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        wait_for(&format!("end of {}", self.name), || child.try_wait().transpose())?.context("cannot wait")
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Programs with children of their own end them on SIGTERM; whoever dawdles is killed.
        let asked = !self.ended() && self.signal(Signal::TERM).is_ok();
        for _ in 0..40 {
            if !asked || self.ended() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _already_dead = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    fn alive(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn dropped_process_is_gone() {
        let scratch = Scratch::new().unwrap();
        let process = Process::start("sleep", Path::new("sleep"), &["1000"], &[], scratch.path()).unwrap();
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    #[test]
    fn process_ends_with_the_thread_that_made_it() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.path().to_path_buf();
        let pid = std::thread::spawn(move || {
            let mut process =
                Process::start("sh", Path::new("sh"), &["-c", "echo up; sleep 1000"], &[], &folder)
                    .expect("sh starts");
            let log = folder.join("sh.log");
            process
                .until("up", || std::fs::read_to_string(&log).ok().filter(|said| said.contains("up")))
                .expect("up");
            let pid = process.pid();
            std::mem::forget(process);
            pid
        });
        let pid = pid.join().unwrap();
        wait_for("end of the forgotten child", || (!alive(pid)).then_some(())).unwrap();
    }

    #[test]
    fn early_end_shows_what_was_said() {
        let scratch = Scratch::new().unwrap();
        let words = ["-c", "echo no such luck; exit 3"];
        let mut process = Process::start("sh", Path::new("sh"), &words, &[], scratch.path()).unwrap();
        let error = process.until("never", || None::<()>).unwrap_err();
        assert!(format!("{error:#}").contains("no such luck"), "{error:#}");
    }
}
