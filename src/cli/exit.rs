//! Exit codes, and how an error is told.

use std::process::ExitCode;

use super::terminal;
use crate::config::Problems;

/// Something failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// `--status`: the agent or hub is stopped.
pub const STOPPED: u8 = 3;
/// `--status`: the present user may not know; or the agent or hub is not theirs.
pub const NOT_PERMITTED: u8 = 4;
/// The config is bad (EX_CONFIG of sysexits.h).
pub const CONFIG: u8 = 78;

/// The last lines of `fieldpost --help`.
pub const HELP: &str = "\
Exit codes:
  0   done (also: --start when running, --stop when stopped)
  1   failed
  2   the command line is wrong
  3   the agent or hub is stopped (--status)
  4   not permitted (--status, --stop, --reload of somebody else's agent or hub)
  78  the config is bad

Config is read from --config-dir, $FIELDPOST_CONFIGDIR, /etc/fieldpost or ~/.config/fieldpost:
agent.yaml, then conf.d/*.yaml (of the hub: hub.yaml, then hub.d/*.yaml); over it
FIELDPOST__SECTION__KEY variables, over these --set.";

/// A failure with an exit code of its own. Its text is whole: it is shown as it is.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to show.
    pub text: String,
}

/// Makes a failure.
pub fn failure(code: u8, text: impl Into<String>) -> anyhow::Error {
    Failure { code, text: text.into() }.into()
}

/// Tells an error on the standard error and gives its exit code.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has read enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    let (code, text) = code_and_text(error);
    terminal::err(&text);
    ExitCode::from(code)
}

/// The exit code that an error has, and what to show of it.
pub fn code_and_text(error: &anyhow::Error) -> (u8, String) {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return (CONFIG, format!("{problems}; nothing was started or changed"));
    }
    match error.downcast_ref::<Failure>() {
        Some(failure) => (failure.code, failure.text.clone()),
        None => (FAILED, format!("error: {error:#}")),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
