//! Where the data are that a client reads: the running agent's folder, or the config's.

use fieldpost_model::{Selector, TimeMs};
use fieldpost_store::{Reader, StoredSeries};

use super::find::RunningAgent;
use super::{Global, instant};

/// Opens the store for reading. A running agent is asked where its store is; without one the
/// config says it.
pub fn reader(global: &Global) -> anyhow::Result<Reader> {
    let running = RunningAgent::find(global).and_then(|agent| agent.status());
    let folder = match running {
        Ok(status) => status.store.path.into(),
        Err(_) => global.load()?.config.store.path,
    };
    Ok(Reader::open(&folder)?)
}

/// A span of time as options give it: everything up to now where nothing is said.
pub fn span(from: Option<TimeMs>, to: Option<TimeMs>) -> anyhow::Result<(TimeMs, TimeMs)> {
    // Windows may hold a sample of this very instant.
    let now = instant::parse_now("now").map_err(anyhow::Error::msg)? + 1;
    let (from, to) = (from.unwrap_or(0), to.unwrap_or(now));
    anyhow::ensure!(
        from < to,
        "--from ({}) is not before --to ({}); a time of day alone is the last one that has been",
        instant::show(from),
        instant::show(to)
    );
    Ok((from, to))
}

/// Selectors of which one must accept a series; without any, all are accepted.
pub struct AnyOf(Vec<Selector>);

impl AnyOf {
    /// Reads them.
    pub fn parse(texts: &[String]) -> anyhow::Result<Self> {
        let selectors: Result<Vec<_>, _> = texts.iter().map(|text| Selector::parse(text)).collect();
        Ok(Self(selectors?))
    }

    /// Does one of them accept this series?
    pub fn accepts(&self, series: &StoredSeries) -> bool {
        let label =
            |name: &str| series.labels.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        self.0.is_empty() || self.0.iter().any(|selector| selector.accepts(&series.name, label))
    }
}
