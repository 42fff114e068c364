//! Coverage: of any agent and span, what is whole, what is missing for good, and what nobody can
//! tell yet. Between two runs of windows nothing was sampled, or it was and is lost, if all the
//! numbers between them are accounted for; else the agent may still have it.

use std::collections::HashMap;

use fieldpost_model::{Intervals, Seq, Stream, TimeMs};
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::folder::{self, FileKind, StoreFile};
use crate::hub::batch::{HUB_SEQ_MAX, SEQ_BITS};
use crate::hub::carry::{Run, join};
use crate::hub::floor::{self, Floor};
use crate::hub::reader::HubReader;
use crate::source::{is_raw, open_file, skip_damage};

/// What the hub knows of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// Every sample that the agent took is here, or was until it aged.
    Whole,
    /// There is nothing, and nothing will come: it was lost, or the agent did not sample.
    Missing,
    /// The agent may have something that is not here yet.
    Unknown,
}

/// A span and what the hub knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// First instant of the span.
    pub from_ms: TimeMs,
    /// First instant after it.
    pub to_ms: TimeMs,
    /// What the hub knows.
    pub coverage: Coverage,
}

/// What the files say about one spool of an agent.
#[derive(Default)]
struct Account {
    runs: Vec<Run>,
    lost: Vec<(TimeMs, TimeMs)>,
    known: Intervals,
}

impl HubReader {
    /// What the hub knows of an agent's samples in `[from_ms, to_ms)`: stretches that together
    /// are the span, in their order. What aged is missing.
    pub fn coverage(
        &self,
        agent_id: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Vec<Stretch>, StoreError> {
        let mut marks = Vec::new();
        for account in self.accounts(agent_id)?.into_values() {
            account.mark(&mut marks);
        }
        Ok(stretches(marks, from_ms, to_ms))
    }

    fn accounts(&self, agent_id: &str) -> Result<HashMap<String, Account>, StoreError> {
        let mut accounts: HashMap<String, Account> = HashMap::new();
        // The floor first: what is raised meanwhile is found in its file then.
        let floor = floor::read_of(&Floor::path(self.folder()), agent_id, Stream::Metrics)?;
        let files = folder::list(self.folder())?;
        for file in files.iter().filter(|file| is_raw(file.kind)) {
            let read = open_file(file).and_then(|connection| {
                take(&connection, file, agent_id, &mut accounts).map_err(StoreError::sql("read", &file.path))
            });
            match read {
                // It was merged meanwhile: what it became is listed after it, or is seen next time.
                Err(error) if error.is_vanished() => {}
                read => _ = skip_damage(&file.path, read)?,
            }
        }
        for (spool_id, numbers) in floor {
            accounts.entry(spool_id).or_default().known.union(&numbers);
        }
        Ok(accounts)
    }
}

/// Adds what a file says of an agent's metrics.
fn take(
    connection: &Connection,
    file: &StoreFile,
    agent_id: &str,
    accounts: &mut HashMap<String, Account>,
) -> rusqlite::Result<()> {
    let sql = "SELECT source, spool_id FROM sources WHERE agent_id = ?1 AND stream = ?2";
    let mut statement = connection.prepare(sql)?;
    let sources = statement.query_map(params![agent_id, Stream::Metrics.as_str()], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    for source in sources.collect::<rusqlite::Result<Vec<_>>>()? {
        let account = accounts.entry(source.1).or_default();
        take_ranges(connection, source.0, account)?;
        let sql = match file.kind {
            FileKind::Hot => {
                "SELECT items.key, items.key, items.from_ms, items.to_ms FROM parts, items \
                 WHERE parts.source = ?1 AND items.key >= parts.part << 40 AND items.key < (parts.part + 1) << 40"
            }
            _ => "SELECT first, last, from_ms, to_ms FROM spans WHERE source = ?1",
        };
        let mut statement = connection.prepare(sql)?;
        let runs = statement.query_map([source.0], |row| {
            let number =
                |position| Ok::<_, rusqlite::Error>(row.get::<_, i64>(position)? as u64 & HUB_SEQ_MAX);
            Ok(Run { first: number(0)?, last: number(1)?, from_ms: row.get(2)?, to_ms: row.get(3)? })
        })?;
        account.runs.extend(join(runs.collect::<rusqlite::Result<Vec<_>>>()?));
    }
    Ok(())
}

fn take_ranges(connection: &Connection, source: i64, account: &mut Account) -> rusqlite::Result<()> {
    let pairs = |sql: &str| {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([source], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    for (first, last) in pairs("SELECT first, last FROM received WHERE source = ?1")? {
        account.known.insert(first.max(1) as u64, last.max(0) as u64);
    }
    account.lost.extend(pairs("SELECT from_ms, to_ms FROM lost WHERE source = ?1")?);
    Ok(())
}

impl Account {
    /// Marks what the spool says of the time: whole runs, and between them what is accounted for.
    fn mark(self, marks: &mut Vec<Stretch>) {
        let mut mark = |from_ms: TimeMs, to_ms: TimeMs, coverage| {
            if from_ms < to_ms {
                marks.push(Stretch { from_ms, to_ms, coverage });
            }
        };
        let runs = join(self.runs);
        if let Some(first) = runs.first().filter(|first| is_accounted(&self.known, 1, first.first)) {
            mark(TimeMs::MIN, first.from_ms, Coverage::Missing);
        }
        for pair in runs.windows(2) {
            if is_accounted(&self.known, pair[0].last + 1, pair[1].first) {
                mark(pair[0].to_ms, pair[1].from_ms, Coverage::Missing);
            }
        }
        runs.iter().for_each(|run| mark(run.from_ms, run.to_ms, Coverage::Whole));
        self.lost.into_iter().for_each(|(from_ms, to_ms)| mark(from_ms, to_ms, Coverage::Missing));
    }
}

/// Are all numbers from this one to before that one known?
fn is_accounted(known: &Intervals, from: Seq, before: Seq) -> bool {
    from >= before || known.missing(from, before - 1).is_empty()
}

/// Cuts a span into stretches by what is marked: whole wins over missing, and what nobody
/// marked is unknown.
fn stretches(mut marks: Vec<Stretch>, from_ms: TimeMs, to_ms: TimeMs) -> Vec<Stretch> {
    marks.retain(|mark| mark.from_ms < to_ms && mark.to_ms > from_ms);
    let mut edges: Vec<(TimeMs, Coverage, i32)> = Vec::new();
    for mark in &marks {
        edges.push((mark.from_ms.max(from_ms), mark.coverage, 1));
        edges.push((mark.to_ms.min(to_ms), mark.coverage, -1));
    }
    edges.sort_unstable_by_key(|(time_ms, ..)| *time_ms);
    let (mut n_whole, mut n_missing) = (0, 0);
    let mut all: Vec<Stretch> = Vec::new();
    let mut at_ms = from_ms;
    for (time_ms, coverage, step) in edges.into_iter().chain([(to_ms, Coverage::Unknown, 0)]) {
        if time_ms > at_ms {
            let coverage = match (n_whole, n_missing) {
                (1.., _) => Coverage::Whole,
                (_, 1..) => Coverage::Missing,
                _ => Coverage::Unknown,
            };
            push(&mut all, Stretch { from_ms: at_ms, to_ms: time_ms, coverage });
            at_ms = time_ms;
        }
        match coverage {
            Coverage::Whole => n_whole += step,
            Coverage::Missing => n_missing += step,
            Coverage::Unknown => {}
        }
    }
    all
}

fn push(all: &mut Vec<Stretch>, next: Stretch) {
    match all.last_mut() {
        Some(last) if last.coverage == next.coverage => last.to_ms = next.to_ms,
        _ => all.push(next),
    }
}

/// Items of a part lie together: the key says of which.
const _: () = assert!(SEQ_BITS == 40);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretch((from_ms, to_ms): (TimeMs, TimeMs), coverage: Coverage) -> Stretch {
        Stretch { from_ms, to_ms, coverage }
    }

    #[test]
    fn gap_between_runs_is_missing_if_its_numbers_are_known() {
        let run = |first, last, from_ms, to_ms| Run { first, last, from_ms, to_ms };
        let runs = vec![run(1, 3, 100, 130), run(4, 4, 200, 210), run(9, 9, 300, 310), run(15, 15, 400, 410)];
        let known: Intervals = (1..=4).chain(9..=15).collect();
        let account = Account { runs, lost: vec![(310, 330)], known };
        let mut marks = Vec::new();
        account.mark(&mut marks);
        use Coverage::{Missing, Unknown, Whole};
        let expected = [
            ((0, 100), Missing),
            ((100, 130), Whole),
            ((130, 200), Missing),
            ((200, 210), Whole),
            ((210, 300), Unknown),
            ((300, 310), Whole),
            ((310, 400), Missing),
            ((400, 410), Whole),
            ((410, 500), Unknown),
        ];
        assert_eq!(stretches(marks, 0, 500), expected.map(|(span, coverage)| stretch(span, coverage)));
    }

    proptest! {
        #[test]
        fn stretches_are_the_span_and_say_the_best_of_each_instant(
            marks in proptest::collection::vec((0_i64..60, 1_i64..20, any::<bool>()), 0..12),
        ) {
            let coverage = |whole| if whole { Coverage::Whole } else { Coverage::Missing };
            let marks = marks.into_iter().map(|(from, n, whole)| stretch((from, from + n), coverage(whole)));
            let marks: Vec<_> = marks.collect();
            let all = stretches(marks.clone(), 10, 50);
            prop_assert_eq!((all[0].from_ms, all[all.len() - 1].to_ms), (10, 50));
            prop_assert!(all.windows(2).all(|p| p[0].to_ms == p[1].from_ms && p[0].coverage != p[1].coverage));
            for at in 10..50 {
                let of = |all: &[Stretch]| {
                    let there = all.iter().filter(|s| (s.from_ms..s.to_ms).contains(&at));
                    there.map(|s| s.coverage).min()
                };
                prop_assert_eq!(of(&all), Some(of(&marks).unwrap_or(Coverage::Unknown)));
            }
        }
    }
}
