//! kill -9 at random instants under full load: what the agent once called stored is there
//! afterwards, once, and the store opens again each time. A hundred kills; `make soak` does more.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fieldpost_bed::{Agent, Page, Random, soak};

/// Kills, times `FIELDPOST_SOAK`.
const N_KILLS: u64 = 100;

/// The shortest interval and the shortest window there are: the most that can be torn.
pub const FULL_LOAD: &str = "interval: 100ms\ncollectors:\n  all: true\nstore:\n  window: 1s\n";

/// The longest that an agent lives after it is ready.
const LIFE_MS_MAX: u64 = 1_500;

/// Sampled at each tick by the sampler itself, so that its points are the ticks.
const EACH_TICK: &str = "node_load1";

/// A tick is counted when it begins and seen on the page when it has ended: one may lie between.
const TICKS_BEGUN: u64 = 1;

/// What an agent has said of itself while it lived: obligations, checked after its death.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// When it was started, milliseconds since 1970.
    pub begun_ms: i64,
    /// Samples that it called stored, as it said last.
    pub n_stored: u64,
    /// Looks at it: the time of its last tick, milliseconds since 1970, and how many ticks it had
    /// counted until then. The count is that of the look before: within one page the count is
    /// younger than the values.
    pub ticks: Vec<(i64, u64)>,
    n_ticks: u64,
}

impl Life {
    /// A life that begins now.
    pub fn begin() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { begun_ms: now.as_millis() as i64, ..Self::default() }
    }

    /// Notes what the page says.
    pub fn look(&mut self, page: &Page) -> anyhow::Result<()> {
        let value = |name: &str| page.value(name, &[]).with_context(|| format!("the page has no {name}"));
        self.n_stored = value("fieldpost_store_samples_total")? as u64;
        let time_ms = (value("node_time_seconds")? * 1000.0) as i64;
        self.ticks.push((time_ms, self.n_ticks));
        self.n_ticks = value("fieldpost_sampler_ticks_total")? as u64;
        Ok(())
    }
}

#[test]
fn what_was_stored_survives_kills() {
    let n_kills = N_KILLS * soak();
    let mut random = Random::seeded();
    let mut lives = vec![Life::begin()];
    let mut agent = Agent::start(Path::new(crate::fieldpost()), FULL_LOAD).unwrap();
    for number in 1..=n_kills {
        let until = Instant::now() + Duration::from_millis(random.below(LIFE_MS_MAX));
        let life = lives.last_mut().unwrap();
        while Instant::now() < until {
            life.look(&agent.page().unwrap()).unwrap();
        }
        agent.kill().unwrap();
        lives.push(Life::begin());
        agent.start_again().with_context(|| format!("start after kill {number}")).unwrap();
    }
    assert!(agent.stop().unwrap().success(), "the last agent did not stop cleanly");
    check(&agent, &lives).unwrap();
}

/// Checks every obligation against the store, which no agent holds any more.
pub fn check(agent: &Agent, lives: &[Life]) -> anyhow::Result<()> {
    let mut stored = Stored::default();
    export(agent, &mut stored)?;
    let mut n_ticks_lost = 0;
    for (index, life) in lives.iter().enumerate() {
        let end_ms = lives.get(index + 1).map_or(i64::MAX, |next| next.begun_ms);
        n_ticks_lost +=
            check_life(life, end_ms, &stored).with_context(|| format!("life {index} of {}", lives.len()))?;
    }
    println!(
        "{} lives, {} samples stored, each once; {n_ticks_lost} ticks were lost, all from open windows",
        lives.len(),
        stored.n_samples
    );
    let events = agent.client(&["events", "--json"])?;
    ensure!(events.status.success(), "fieldpost events: {}", String::from_utf8_lossy(&events.stderr));
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    for word in ["quarantin", "corrupt"] {
        ensure!(!events.contains(word), "the store was found {word}ed: {events}");
    }
    Ok(())
}

/// Checks one life; answers how many ticks of it are not there: those of its open window.
fn check_life(life: &Life, end_ms: i64, stored: &Stored) -> anyhow::Result<u64> {
    let n_samples: u64 = stored.n_at.range(life.begun_ms..end_ms).map(|(_, n_samples)| n_samples).sum();
    ensure!(
        n_samples >= life.n_stored,
        "{} samples were called stored, {n_samples} are there",
        life.n_stored
    );
    let ticks: Vec<i64> =
        stored.ticks.iter().copied().filter(|time| (life.begun_ms..end_ms).contains(time)).collect();
    // Up to its last stored tick there is no hole: as many are there as the agent had counted then.
    let last = ticks.last().copied().unwrap_or(0);
    for (time_ms, n_ticks) in life.ticks.iter().filter(|(time, _)| *time <= last) {
        let n_there = ticks.iter().filter(|tick| *tick <= time_ms).count() as u64;
        ensure!(
            n_there + TICKS_BEGUN >= *n_ticks,
            "a hole: {n_ticks} ticks were taken until {time_ms}, {n_there} are there: {ticks:?}"
        );
    }
    Ok(life.n_ticks.saturating_sub(ticks.len() as u64))
}

/// What the store holds.
#[derive(Default)]
struct Stored {
    n_samples: u64,
    /// Samples by their time.
    n_at: BTreeMap<i64, u64>,
    /// Times of the sampler's ticks, in order.
    ticks: Vec<i64>,
    /// The last time of each series.
    last: BTreeMap<String, i64>,
}

impl Stored {
    /// Takes one line of the export; a sample that is not later than the one before is a fault.
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let (time, rest) = line.split_once(',').with_context(|| format!("no time: {line}"))?;
        let (series, _) = rest.rsplit_once(',').with_context(|| format!("no value: {line}"))?;
        let time: i64 = time.parse()?;
        match self.last.get_mut(series) {
            Some(last) if *last >= time => {
                anyhow::bail!("{series} has a sample of {time} after one of {last}")
            }
            Some(last) => *last = time,
            None => drop(self.last.insert(series.to_owned(), time)),
        }
        if series.trim_matches('"') == EACH_TICK {
            self.ticks.push(time);
        }
        *self.n_at.entry(time).or_default() += 1;
        self.n_samples += 1;
        Ok(())
    }
}

fn export(agent: &Agent, stored: &mut Stored) -> anyhow::Result<()> {
    let mut command = agent.command(&["export", "--format", "csv"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for line in lines.skip(1) {
        stored.line(&line?)?;
    }
    ensure!(child.wait()?.success(), "fieldpost export failed");
    Ok(())
}

/// The check must find what it is for.
#[cfg(test)]
mod controls {
    use super::*;

    fn stored(lines: &[&str]) -> anyhow::Result<Stored> {
        let mut stored = Stored::default();
        lines.iter().try_for_each(|line| stored.line(line))?;
        Ok(stored)
    }

    #[test]
    fn double_sample_is_found() {
        assert!(stored(&["1,\"a{x=\"\"1,2\"\"}\",3", "2,\"a{x=\"\"1,2\"\"}\",3"]).is_ok());
        assert!(stored(&["1,\"a\",3", "1,\"a\",3"]).is_err());
    }

    #[test]
    fn hole_and_lost_obligation_are_found() {
        let there =
            stored(&["100,\"node_load1\",1", "200,\"node_load1\",1", "900,\"node_load1\",1"]).unwrap();
        let life = |n_stored, n_ticks| Life { begun_ms: 50, n_stored, ticks: vec![(800, n_ticks)], n_ticks };
        assert!(check_life(&life(3, 2), i64::MAX, &there).is_ok());
        assert!(check_life(&life(4, 2), i64::MAX, &there).is_err());
        assert!(check_life(&life(3, 8), i64::MAX, &there).is_err());
    }
}
