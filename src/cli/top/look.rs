//! Looks at an agent: its newest values, kept for some seconds, so that counters become rates.

use std::collections::{HashMap, VecDeque};

use fieldpost_model::ProcessRow;

use crate::agent::Status;
use crate::api::{Processes, Value, Values};

/// Looks that are kept: the span over which pressure is averaged, in looks of a second.
const N_LOOKS: usize = 11;

/// The values of one look, by name and by labels in the order of the page.
struct Look {
    now_ms: i64,
    by_name: HashMap<String, Vec<Value>>,
}

/// What `top` knows of the agent.
pub struct Looks {
    looks: VecDeque<Look>,
    /// The agent's status at the newest look.
    pub status: Status,
    /// The process table at the newest look.
    pub processes: Vec<ProcessRow>,
}

/// A rate over the newest two looks, or over all that are kept.
#[derive(Clone, Copy)]
pub enum Over {
    /// Between the newest two.
    Last,
    /// Over all that are kept: about 10 s.
    All,
}

impl Looks {
    /// The first look.
    pub fn new(status: Status, values: Values, processes: Processes) -> Self {
        let mut looks = Self { looks: VecDeque::new(), status: status.clone(), processes: Vec::new() };
        looks.add(status, values, processes);
        looks
    }

    /// A newer look.
    pub fn add(&mut self, status: Status, values: Values, processes: Processes) {
        let mut by_name: HashMap<String, Vec<Value>> = HashMap::new();
        for value in values.values {
            by_name.entry(value.name.clone()).or_default().push(value);
        }
        if self.looks.len() == N_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Look { now_ms: values.now_ms, by_name });
        self.status = status;
        self.processes = processes.processes;
    }

    /// When the newest look was taken.
    pub fn now_ms(&self) -> i64 {
        self.looks.back().map_or(0, |look| look.now_ms)
    }

    /// All series of this name at the newest look.
    pub fn all(&self, name: &str) -> &[Value] {
        self.looks.back().and_then(|look| look.by_name.get(name)).map_or(&[], Vec::as_slice)
    }

    /// The newest value of the series with this name and these labels among others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        find(self.looks.back()?, name, labels)?.value
    }

    /// How much a counter grew per second.
    pub fn rate(&self, name: &str, labels: &[(&str, &str)], over: Over) -> Option<f64> {
        let before = match over {
            Over::Last => self.looks.len().checked_sub(2)?,
            Over::All => 0,
        };
        let (now, before) =
            (find(self.looks.back()?, name, labels)?, find(&self.looks[before], name, labels)?);
        let seconds = (now.time_ms - before.time_ms) as f64 / 1_000.0;
        let grown = now.value? - before.value?;
        (seconds > 0.0 && grown >= 0.0).then(|| grown / seconds)
    }
}

fn find<'a>(look: &'a Look, name: &str, labels: &[(&str, &str)]) -> Option<&'a Value> {
    look.by_name.get(name)?.iter().find(|value| labels.iter().all(|(n, v)| label(value, n) == Some(*v)))
}

/// The value of a label.
pub fn label<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}
