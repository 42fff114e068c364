//! What the agent says about itself: its log and its own metrics. The one home of `prometheus`.

mod line;
mod log;
mod own;
mod process;
mod rotating;
mod sites;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

pub use log::{Log, LogSink, is_journal};
pub use own::{OwnFamily, OwnMetrics, Readings};
pub use process::Cost;
pub use rotating::RotatingFile;

/// The `log` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is worth a line.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
    /// Where a daemon's lines go; unset: fieldpost.log in `store.path`. In the foreground they go
    /// to the standard error.
    pub file: Option<PathBuf>,
}

/// What is worth a line in the log; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Data were lost, or a person is needed.
    Error,
    /// Something went wrong and was got over.
    Warn,
    /// Started, stopped, reloaded.
    #[default]
    Info,
    /// The rest, but nothing that happens with every sample.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As tracing has it.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `time level message key=value`; the journal gets the level as it wants it, and no time.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
