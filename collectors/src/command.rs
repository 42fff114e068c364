//! Runs another program for its output: with a deadline and a bound, and none of it left behind.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::collector::CollectError;

/// The most output that is taken, bytes: thousands of units stay far below.
const OUTPUT_LIMIT_BYTES: usize = 16 << 20;

/// How often a program that has closed its output is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Runs `command` and gives what it wrote to its standard output. A program that does not exist
/// is no data; one that fails, talks too much or is not done in time is an error, and killed.
/// What it writes to standard error is thrown away.
pub fn output(mut command: Command, timeout: Duration) -> Result<Vec<u8>, CollectError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let deadline = Instant::now() + timeout;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => CollectError::NoData(format!("no program {name}")),
        _ => CollectError::Other(format!("cannot run {name}: {error}")),
    })?;
    let result = finish(&mut child, deadline);
    if result.is_err() {
        // It may have ended by itself meanwhile, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
    match result {
        Ok((output, status)) if status.success() => Ok(output),
        Ok((_, status)) => {
            Err(CollectError::Other(format!("{name} failed ({status}); run it by hand to see why")))
        }
        Err(why) => Err(CollectError::Other(format!("{name} {why} and was killed"))),
    }
}

fn finish(child: &mut Child, deadline: Instant) -> Result<(Vec<u8>, ExitStatus), String> {
    let mut pipe = child.stdout.take().ok_or("has no output")?;
    let output = drain(&mut pipe, deadline)?;
    loop {
        match child.try_wait().map_err(|error| format!("cannot be waited for ({error})"))? {
            Some(status) => return Ok((output, status)),
            None if Instant::now() >= deadline => return Err("did not end in time".into()),
            None => std::thread::sleep(LOOK),
        }
    }
}

fn drain(pipe: &mut ChildStdout, deadline: Instant) -> Result<Vec<u8>, String> {
    let (mut output, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut ready = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return Err("did not answer in time".into()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(format!("cannot be read ({error})")),
            Ok(_) => {}
        }
        match pipe.read(&mut part).map_err(|error| format!("cannot be read ({error})"))? {
            0 => return Ok(output),
            n if output.len() + n > OUTPUT_LIMIT_BYTES => return Err("wrote more than 16 MiB".into()),
            n => output.extend_from_slice(&part[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Vec<u8>, CollectError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        output(command, timeout)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_is_taken_whole() {
        assert_eq!(shell("echo a; echo b; echo c >&2", LONG).unwrap(), b"a\nb\n");
    }

    #[test]
    fn program_that_hangs_is_killed() {
        let error = shell("exec sleep 3600", Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("did not answer in time"), "{error}");
        let error = shell("exec sleep 3600 >&-", Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");
    }

    #[test]
    fn program_that_talks_without_end_is_killed() {
        let error = shell("exec yes", LONG).unwrap_err();
        assert!(error.to_string().contains("16 MiB"), "{error}");
    }

    #[test]
    fn failure_is_an_error_and_absence_is_no_data() {
        let error = shell("exit 3", LONG).unwrap_err();
        assert!(error.to_string().contains("run it by hand"), "{error}");
        assert!(output(Command::new("/nonexistent/program"), LONG).unwrap_err().is_no_data());
    }
}
