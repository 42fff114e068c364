//! Who did it: shares of CPU, memory growth and storage traffic over a span, by process group or
//! by unit, from the first and the last row that each entity has in the span.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{Entity, TableKind, TimeMs, USER_HZ};

/// One entity's part of a span.
#[derive(Debug, Clone, Copy)]
pub struct Life<'a> {
    /// Who.
    pub entity: &'a Entity,
    /// Its first numbers in the span: those at its beginning, if it was there already.
    pub first: &'a [i64; 8],
    /// Its last numbers in the span.
    pub last: &'a [i64; 8],
    /// It was gone before the span ended.
    pub ended: bool,
}

/// A span of one table.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Which table.
    pub kind: TableKind,
    /// Where the span begins: who started later had used nothing by then.
    pub from_ms: TimeMs,
    /// All entities that have a row in the span.
    pub lives: Vec<Life<'a>>,
}

/// What one name is answerable for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Group or unit.
    pub name: String,
    /// Seconds of CPU time, or bytes.
    pub amount: f64,
    /// Part of what all together are answerable for: 0 to 1.
    pub share: f64,
}

/// The answer, each list with the largest share first and without those that have none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Culprits {
    /// CPU time.
    pub cpu: Vec<Share>,
    /// Growth of memory, swapped memory included.
    pub memory_growth: Vec<Share>,
    /// Bytes read from and written to storage.
    pub io: Vec<Share>,
}

/// Numbers of one row in common terms; -1 where unknown.
#[derive(Clone, Copy)]
struct Measures {
    cpu: i64,
    memory: i64,
    io: [i64; 2],
}

/// What one name adds up to.
#[derive(Default, Clone, Copy)]
struct Sum {
    cpu: f64,
    io: f64,
    /// Growth of those that live on, less what those gave back that ended.
    net_memory: f64,
    /// The largest growth of one that ended. It may be why the span is looked at: a process that
    /// was killed when memory ran out has given all back.
    ended_memory: f64,
}

impl Culprits {
    /// Shares of process groups, from a span of processes.
    pub fn by_group(span: &Span<'_>) -> Self {
        Self::by(span, |entity| &entity.group)
    }

    /// Shares of units: from a span of processes by the unit each belongs to, from a span of
    /// units by what each used itself, without the units within it.
    pub fn by_unit(span: &Span<'_>) -> Self {
        match span.kind {
            TableKind::Processes => Self::by(span, |entity| &entity.unit),
            TableKind::Units => answer(&own_parts(span)),
        }
    }

    fn by<'a>(span: &Span<'a>, name: impl Fn(&'a Entity) -> &'a str) -> Self {
        let mut sums: HashMap<&str, Sum> = HashMap::new();
        for life in &span.lives {
            sums.entry(name(life.entity)).or_default().add(grown(span, life));
        }
        answer(&sums)
    }
}

impl Sum {
    fn add(&mut self, more: Sum) {
        self.cpu += more.cpu;
        self.io += more.io;
        self.net_memory += more.net_memory;
        self.ended_memory = self.ended_memory.max(more.ended_memory);
    }

    fn memory(&self) -> f64 {
        self.net_memory.max(self.ended_memory).max(0.0)
    }
}

fn measures(kind: TableKind, values: &[i64; 8]) -> Measures {
    match kind {
        TableKind::Processes => {
            let memory = values[1].max(0).saturating_add(values[2].max(0));
            Measures { cpu: values[0], memory, io: [values[4], values[5]] }
        }
        TableKind::Units => Measures { cpu: values[0], memory: values[1], io: [values[2], values[3]] },
    }
}

/// What one entity used in the span. One that began in it starts from nothing.
fn grown(span: &Span<'_>, life: &Life<'_>) -> Sum {
    let last = measures(span.kind, life.last);
    let first = if life.entity.start_ms >= span.from_ms {
        Measures { cpu: 0, memory: 0, io: [0, 0] }
    } else {
        measures(span.kind, life.first)
    };
    let per_second = match span.kind {
        TableKind::Processes => f64::from(USER_HZ),
        TableKind::Units => 1e6,
    };
    let growth = if known(first.memory, last.memory) { (last.memory - first.memory) as f64 } else { 0.0 };
    let given_back = -(first.memory.max(0) as f64);
    Sum {
        cpu: counted(first.cpu, last.cpu) / per_second,
        io: counted(first.io[0], last.io[0]) + counted(first.io[1], last.io[1]),
        net_memory: if life.ended { given_back } else { growth },
        ended_memory: if life.ended { growth } else { 0.0 },
    }
}

fn known(first: i64, last: i64) -> bool {
    first >= 0 && last >= 0
}

/// Growth of a counter; none where a number is unknown or the counter began anew.
fn counted(first: i64, last: i64) -> f64 {
    if known(first, last) { last.saturating_sub(first).max(0) as f64 } else { 0.0 }
}

/// A unit's numbers hold those of the units within it: what is left without them is its own.
fn own_parts<'a>(span: &Span<'a>) -> HashMap<&'a str, Sum> {
    let mut all: HashMap<&str, Sum> = HashMap::new();
    for life in &span.lives {
        all.entry(life.entity.command.as_str()).or_default().add(grown(span, life));
    }
    let mut own = all.clone();
    for (path, sum) in &all {
        let Some(above) = nearest_above(path, &all) else { continue };
        let above = own.entry(above).or_default();
        above.cpu = (above.cpu - sum.cpu).max(0.0);
        above.io = (above.io - sum.io).max(0.0);
        above.net_memory -= sum.net_memory;
        above.ended_memory = (above.ended_memory - sum.ended_memory).max(0.0);
    }
    own
}

/// The innermost known unit that holds this one.
fn nearest_above<'a>(path: &'a str, all: &HashMap<&'a str, Sum>) -> Option<&'a str> {
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        above = parent;
        let parent = if parent.is_empty() { "/" } else { parent };
        if parent != path && all.contains_key(parent) {
            return Some(parent);
        }
    }
    None
}

fn answer(sums: &HashMap<&str, Sum>) -> Culprits {
    let shares = |amount: fn(&Sum) -> f64| {
        let total: f64 = sums.values().map(amount).sum();
        let mut shares: Vec<Share> = sums
            .iter()
            .map(|(name, sum)| (name, amount(sum)))
            .filter(|(_, amount)| *amount > 0.0)
            .map(|(name, amount)| Share { name: (*name).to_owned(), amount, share: amount / total })
            .collect();
        shares.sort_by(|a, b| b.amount.total_cmp(&a.amount).then_with(|| a.name.cmp(&b.name)));
        shares
    };
    Culprits { cpu: shares(|sum| sum.cpu), memory_growth: shares(Sum::memory), io: shares(|sum| sum.io) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(name: &str, start_ms: TimeMs) -> Entity {
        Entity {
            pid: 1,
            start_ms,
            name: name.into(),
            command: name.into(),
            unit: format!("{name}.service"),
            group: name.into(),
            uid: 0,
            parent: 0,
        }
    }

    fn span<'a>(kind: TableKind, lives: Vec<Life<'a>>) -> Span<'a> {
        Span { kind, from_ms: 1_000, lives }
    }

    fn process(cpu_ticks: i64, rss: i64, read: i64) -> [i64; 8] {
        [cpu_ticks, rss, 0, 1, read, 0, -1, 82]
    }

    fn share(name: &str, amount: f64, share: f64) -> Share {
        Share { name: name.into(), amount, share }
    }

    #[test]
    fn one_that_began_in_the_span_is_charged_from_its_birth() {
        let (old, new) = (entity("old", 0), entity("new", 1_500));
        let (first, last) = (process(1_000, 50, 10), process(1_100, 50, 10));
        let born = process(300, 150, 40);
        let lives = vec![
            Life { entity: &old, first: &first, last: &last, ended: false },
            Life { entity: &new, first: &born, last: &born, ended: false },
        ];
        let culprits = Culprits::by_group(&span(TableKind::Processes, lives));
        assert_eq!(culprits.cpu, [share("new", 3.0, 0.75), share("old", 1.0, 0.25)]);
        assert_eq!(culprits.memory_growth, [share("new", 150.0, 1.0)]);
        assert_eq!(culprits.io, [share("new", 40.0, 1.0)]);
    }

    #[test]
    fn one_that_grew_and_was_killed_is_named() {
        let (victim, other) = (entity("leak", 0), entity("calm", 0));
        let (first, last) = (process(0, 1_000, 0), process(0, 10_000, 0));
        let (calm_first, calm_last) = (process(0, 500, 0), process(0, 1_500, 0));
        let lives = vec![
            Life { entity: &victim, first: &first, last: &last, ended: true },
            Life { entity: &other, first: &calm_first, last: &calm_last, ended: false },
        ];
        let culprits = Culprits::by_unit(&span(TableKind::Processes, lives));
        assert_eq!(
            culprits.memory_growth,
            [share("leak.service", 9_000.0, 0.9), share("calm.service", 1_000.0, 0.1)]
        );
    }

    #[test]
    fn worker_that_replaces_another_is_no_growth() {
        let (old, new) = (entity("worker", 0), entity("worker", 2_000));
        let size = process(0, 4_000, 0);
        let lives = vec![
            Life { entity: &old, first: &size, last: &size, ended: true },
            Life { entity: &new, first: &size, last: &size, ended: false },
        ];
        assert_eq!(Culprits::by_group(&span(TableKind::Processes, lives)).memory_growth, []);
    }

    #[test]
    fn unknown_numbers_and_counters_that_began_anew_count_nothing() {
        let who = entity("who", 0);
        let (first, last) = (process(100, 10, -1), process(40, 10, 500));
        let lives = vec![Life { entity: &who, first: &first, last: &last, ended: false }];
        assert_eq!(Culprits::by_group(&span(TableKind::Processes, lives)), Culprits::default());
    }

    #[test]
    fn unit_that_is_started_anew_is_charged_for_both_lives() {
        let (old, new) = (entity("/a.service", 0), entity("/a.service", 1_500));
        let (zero, two, three) = ([0; 8], [2_000_000, 0, 0, 0, 0, 0, 0, 1], [3_000_000, 0, 0, 0, 0, 0, 0, 1]);
        let lives = vec![
            Life { entity: &old, first: &zero, last: &two, ended: true },
            Life { entity: &new, first: &three, last: &three, ended: false },
        ];
        assert_eq!(Culprits::by_unit(&span(TableKind::Units, lives)).cpu, [share("/a.service", 5.0, 1.0)]);
    }

    #[test]
    fn units_are_answerable_for_what_no_unit_within_them_used() {
        let (slice, service, root) =
            (entity("/a.slice", 0), entity("/a.slice/x/b.service", 0), entity("/", 0));
        let zero = [0; 8];
        let (all, most) = ([10_000_000, 100, 30, 20, 0, 0, 0, 3], [9_000_000, 100, 30, 10, 0, 0, 0, 2]);
        let lives = vec![
            Life { entity: &slice, first: &zero, last: &all, ended: false },
            Life { entity: &service, first: &zero, last: &most, ended: false },
            Life { entity: &root, first: &zero, last: &all, ended: false },
        ];
        let culprits = Culprits::by_unit(&span(TableKind::Units, lives));
        assert_eq!(culprits.cpu, [share("/a.slice/x/b.service", 9.0, 0.9), share("/a.slice", 1.0, 0.1)]);
        assert_eq!(culprits.memory_growth, [share("/a.slice/x/b.service", 100.0, 1.0)]);
        assert_eq!(culprits.io, [share("/a.slice/x/b.service", 40.0, 0.8), share("/a.slice", 10.0, 0.2)]);
    }
}
