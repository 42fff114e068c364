//! What every collector is: read one subject of this machine into a tick. And what may go wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldpost_model::{Owner, TableTick, Tick, TimeMs};

use crate::config::{Common, Config, Roots};

/// Why a collector has no samples this time.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// This machine has no such thing. Not a fault: counted as no success (as node_exporter does), not logged.
    #[error("nothing to measure here: {0}")]
    NoData(String),
    /// A file or call failed.
    #[error("cannot read {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file does not have the form the kernel documents.
    #[error("{path}: {what}")]
    Parse {
        /// What was read.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else, told in words.
    #[error("{0}")]
    Other(String),
}

impl CollectError {
    /// A failed read; a file that does not exist means that there is nothing to measure.
    pub fn read(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NoData(format!("no {}", path.display())),
            _ => Self::Read { path: path.to_owned(), source },
        }
    }

    /// A file of unexpected form.
    pub fn parse(path: &Path, what: impl Into<String>) -> Self {
        Self::Parse { path: path.to_owned(), what: what.into() }
    }

    /// Is it only that this machine has no such thing?
    pub fn is_no_data(&self) -> bool {
        matches!(self, Self::NoData(_))
    }
}

/// Reads one subject of this machine. Kept from pass to pass: it holds its descriptors, its
/// buffers and the ids of its series, so that the steady state allocates nothing.
pub trait Collector: Send {
    /// Records one pass into `tick`. What was recorded before an error is dropped.
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError>;

    /// The table that belongs to the last pass, for collectors that keep one.
    fn table(&self) -> Option<&TableTick> {
        None
    }

    /// What was asked in earlier passes and does not answer.
    fn stuck(&self) -> Vec<Stuck> {
        Vec::new()
    }
}

/// A thing, such as a mount, that was asked and does not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    /// Which one: a mount point.
    pub subject: String,
    /// How long ago it was asked.
    pub age: Duration,
    /// When it last answered, and what: names of families and their numbers.
    pub last: Option<(TimeMs, Vec<(&'static str, f64)>)>,
}

/// Where a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the sampler's own thread: it reads only files of the kernel that never sleep long.
    Sampler,
    /// Apart, under a deadline: a driver, a file system or another program may keep it waiting.
    Apart,
}

/// What a collector is built with.
pub struct Env<'a> {
    /// Where the trees are.
    pub roots: &'a Roots,
    /// All collectors' settings.
    pub config: &'a Config,
    /// Resolves the series that exist from the start. Never set samples here.
    pub tick: &'a Tick,
}

/// A line of the closed list.
pub struct Entry {
    /// Name in the config, in `collect[]` and in `node_scrape_collector_*`.
    pub name: &'static str,
    /// On unless the config says otherwise.
    pub on: bool,
    /// Where it runs.
    pub place: Place,
    /// Its own interval, where the base interval would be wasteful.
    pub slow: Option<Duration>,
    /// What it gives, in a few words, for people.
    pub gives: &'static str,
    /// Its part of the settings that all have.
    pub common: fn(&Config) -> Common,
    /// Do two configs have the same settings for it?
    pub same: fn(&Config, &Config) -> bool,
    /// Makes one.
    pub build: fn(&Env<'_>) -> Result<Box<dyn Collector>, CollectError>,
}

/// A line of a closed list: name, `on` or `off`, place, seconds of its own interval (0: the base
/// interval), what it gives, and what makes one unless it is the `build` of the module of that name.
macro_rules! entry {
    ($name:ident, $on:ident, $place:ident, $seconds:literal, $gives:literal) => {
        $crate::collector::entry!($name, $on, $place, $seconds, $gives, crate::$name::build)
    };
    ($name:ident, $on:ident, $place:ident, $seconds:literal, $gives:literal, $build:path) => {
        $crate::collector::Entry {
            name: stringify!($name),
            on: $crate::collector::entry!(@ $on),
            place: $crate::collector::Place::$place,
            slow: match $seconds {
                0 => None,
                seconds => Some(std::time::Duration::from_secs(seconds)),
            },
            gives: $gives,
            common: |config| config.$name.common(),
            same: |a, b| a.$name == b.$name,
            build: $build,
        }
    };
    (@ on) => { true };
    (@ off) => { false };
}
pub(crate) use entry;

/// The result of one pass.
#[derive(Debug)]
pub struct Pass {
    /// The tick's instant.
    pub time_ms: TimeMs,
    /// How long it took.
    pub took: Duration,
    /// What went wrong.
    pub error: Option<CollectError>,
}

/// Positions in the closed list are owners; the two families about collectors have their own.
pub fn owner(position: usize) -> Owner {
    Owner(u16::try_from(position).expect("the closed list has fewer than 65 536 lines"))
}
