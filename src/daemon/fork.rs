//! Going into the background, and telling whoever waits in the foreground how it went.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use daemonize::{Daemonize, Outcome as Fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// A start takes at most this long; a store of 1 GB is ready within 2 s.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Files of a daemon are nobody else's.
const UMASK: u32 = 0o077;

/// On which side of the fork this process is.
pub enum Forked {
    /// In the foreground; this came of the other side.
    Foreground(Outcome),
    /// In the background; whoever waits is to be told.
    Background(Readiness),
}

/// What came of a start.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is ready; its words.
    Ready(String),
    /// It ended with this exit code; its words.
    Failed(u8, String),
    /// It ended without a word.
    Silent,
    /// It says nothing, but goes on.
    Late,
}

/// The way to tell the process that waits. If it is dropped, the other side knows that we ended.
pub struct Readiness {
    pipe: File,
}

impl Readiness {
    /// Ready.
    pub fn ready(self, words: &str) {
        self.tell(0, words);
    }

    /// It failed.
    pub fn failed(self, code: u8, words: &str) {
        self.tell(code, words);
    }

    /// Nobody may be waiting any more; the log has it too.
    fn tell(mut self, code: u8, words: &str) {
        let _ = self.pipe.write_all(&[&[code], words.as_bytes()].concat());
    }
}

/// Forks. There must be no thread, no runtime and no database yet: they do not survive it. The
/// background has `stderr` for what a panic says, and `/` for its folder.
pub fn fork(stderr: File) -> anyhow::Result<Forked> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let daemon = Daemonize::new().working_directory("/").umask(UMASK).stderr(stderr);
    match daemon.execute() {
        Fork::Parent(Ok(_)) => {
            drop(writer);
            Ok(Forked::Foreground(outcome(&reader, START_PATIENCE)?))
        }
        Fork::Child(Ok(_)) => Ok(Forked::Background(Readiness { pipe: File::from(writer) })),
        Fork::Parent(Err(error)) => Err(error).context("cannot fork"),
        Fork::Child(Err(error)) => {
            Readiness { pipe: File::from(writer) }
                .failed(1, &format!("error: cannot go into the background: {error}"));
            std::process::exit(1);
        }
    }
}

fn outcome(reader: &OwnedFd, patience: Duration) -> anyhow::Result<Outcome> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    let mut polled = [PollFd::new(reader, PollFlags::IN)];
    if poll(&mut polled, Some(&timeout)).context("cannot wait for the agent")? == 0 {
        return Ok(Outcome::Late);
    }
    let mut told = Vec::new();
    let mut pipe = File::from(reader.try_clone()?);
    pipe.read_to_end(&mut told).context("cannot hear from the agent")?;
    Ok(match told.split_first() {
        None => Outcome::Silent,
        Some((0, words)) => Outcome::Ready(String::from_utf8_lossy(words).into_owned()),
        Some((code, words)) => Outcome::Failed(*code, String::from_utf8_lossy(words).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(tell: impl FnOnce(Readiness)) -> Outcome {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        tell(Readiness { pipe: File::from(writer) });
        outcome(&reader, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn foreground_hears_how_it_went() {
        assert_eq!(heard(|readiness| readiness.ready("yes")), Outcome::Ready("yes".to_owned()));
        assert_eq!(heard(|readiness| readiness.failed(78, "no")), Outcome::Failed(78, "no".to_owned()));
        assert_eq!(heard(drop), Outcome::Silent);
    }

    #[test]
    fn silence_of_a_living_agent_is_told_apart_from_its_end() {
        let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert_eq!(outcome(&reader, Duration::from_millis(1)).unwrap(), Outcome::Late);
    }
}
