//! Speaking to the shim of a run.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::OFlags;

use super::protocol::{Action, Reply, Request, SOCKET_FILE};

/// The longest that a shim may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer, bytes.
const REPLY_BYTES_MAX: u64 = 4 << 10;

/// Asks the shim in this folder. It fails where there is none (any more).
pub fn ask(folder: &Path, nonce: &str, by: &str, action: Action) -> anyhow::Result<Reply> {
    // By its number a folder of any length has a short name.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(folder);
    let opened = opened.context("the run's folder is gone")?;
    let socket = format!("/proc/self/fd/{}/{SOCKET_FILE}", opened.as_raw_fd());
    let mut stream = UnixStream::connect(socket).context("the shim of this run is gone")?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let request = Request { nonce: nonce.to_owned(), by: by.to_owned(), action };
    stream.write_all((serde_json::to_string(&request)? + "\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(REPLY_BYTES_MAX)).read_line(&mut line).context("the shim does not answer")?;
    serde_json::from_str(&line).context("the shim's answer is of another version")
}
