//! The log: events of `tracing` become lines on the standard error, in the journal or in a file.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use chrono::{Local, SecondsFormat};
use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use super::line::{Content, Style};
use super::rotating::RotatingFile;
use super::sites::Sites;
use super::{Config, Format};

/// Where lines go.
#[derive(Debug)]
pub enum LogSink {
    /// The standard error; `journal` if systemd's journal reads it.
    Stderr {
        /// Does the journal read it?
        journal: bool,
    },
    /// A file.
    File(RotatingFile),
}

/// Does the journal read our standard error? `stream` is the variable `JOURNAL_STREAM`, which
/// children inherit even where their standard error is another file.
pub fn is_journal(stream: Option<&str>) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    stream == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
}

/// The running log.
#[derive(Clone)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    sites: Arc<Mutex<Sites>>,
}

impl Log {
    /// Starts the log of this process; once.
    pub fn start(config: &Config, sink: LogSink) -> anyhow::Result<Self> {
        let (filter, level) = reload::Layer::new(config.level.filter());
        let sites = Arc::new(Mutex::new(Sites::default()));
        let style = match (config.format, &sink) {
            (Format::Json, _) => Style::Json,
            (Format::Text, LogSink::Stderr { journal: true }) => Style::Journal,
            (Format::Text, _) => Style::Text,
        };
        let lines = Lines { sink: Mutex::new(sink), style, sites: Arc::clone(&sites) };
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        tracing::subscriber::set_global_default(subscriber).context("the log was started twice")?;
        Ok(Self { level, sites })
    }

    /// Changes what is worth a line.
    pub fn set_level(&self, level: super::Level) {
        // It fails only when the subscriber is gone, and the global one stays for ever.
        let _ = self.level.reload(level.filter());
    }

    /// How many lines were left out because their place in the code wrote too many.
    pub fn left_out(&self) -> u64 {
        self.sites.lock().left_out()
    }
}

/// Makes lines of events.
struct Lines {
    sink: Mutex<LogSink>,
    style: Style,
    sites: Arc<Mutex<Sites>>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = *metadata.level();
        // It tells of every task that it is told of.
        if level == Level::INFO && metadata.target().starts_with("tokio_cron_scheduler") {
            return;
        }
        let mut content = Content::of(event);
        // Who asks for debug wants it all; the file is short all the same.
        if level <= Level::INFO {
            let site = std::ptr::from_ref(metadata) as usize;
            match self.sites.lock().admit(site, Instant::now()) {
                None => return,
                Some(0) => {}
                Some(left_out) => content.add("left_out_before", left_out.to_string()),
            }
        }
        let time = Local::now().to_rfc3339_opts(SecondsFormat::Millis, false);
        self.write(&content.line(self.style, level, metadata.target(), &time));
    }
}

impl Lines {
    /// A log that cannot be written has nowhere to say so.
    fn write(&self, line: &str) {
        let _ = match &mut *self.sink.lock() {
            LogSink::Stderr { .. } => std::io::stderr().write_all(line.as_bytes()),
            LogSink::File(file) => file.write_line(line),
        };
    }
}

impl LogSink {
    /// The sink of a daemon.
    pub fn file(path: &Path) -> anyhow::Result<Self> {
        let open = RotatingFile::open(path);
        open.map(Self::File).with_context(|| format!("cannot open the log file {}", path.display()))
    }
}
