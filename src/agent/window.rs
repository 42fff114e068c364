//! The open window: ticks as they come, turned into columns when the window is sealed.

use std::sync::Arc;

use fieldpost_model::{ABSENT, Catalog, CatalogView, Group, Owner, Sample, SeriesId, Tick, TimeMs, Window};

/// One tick within the flat buffer of samples.
#[derive(Debug, Clone, Copy)]
struct Run {
    owner: Owner,
    time_ms: TimeMs,
    start: usize,
    end: usize,
}

/// The window that is being filled. Its buffers are used again and again.
pub struct OpenWindow {
    catalog: Arc<Catalog>,
    length_ms: i64,
    from_ms: TimeMs,
    runs: Vec<Run>,
    samples: Vec<Sample>,
    columns: Vec<u32>,
}

/// Marks a series that has no column yet.
const NO_COLUMN: u32 = u32::MAX;

impl OpenWindow {
    /// Nothing is open until the first tick comes.
    pub fn new(catalog: Arc<Catalog>, length_ms: i64) -> Self {
        Self {
            catalog,
            length_ms,
            from_ms: TimeMs::MIN,
            runs: Vec::new(),
            samples: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Must the window be sealed before a tick of this instant may enter? So it is when the tick
    /// lies beyond its end, or before its start: the clock was set back.
    pub fn is_over(&self, time_ms: TimeMs) -> bool {
        let inside = self.from_ms..self.from_ms.saturating_add(self.length_ms);
        !self.runs.is_empty() && !inside.contains(&time_ms)
    }

    /// Opens a window, aligned to the wall clock, if none is open.
    pub fn open(&mut self, time_ms: TimeMs) {
        if self.runs.is_empty() {
            self.from_ms = time_ms - time_ms.rem_euclid(self.length_ms);
        }
    }

    /// Changes the length of the windows to come.
    pub fn set_length(&mut self, length_ms: i64) {
        self.length_ms = length_ms;
    }

    /// Adds a tick.
    pub fn push(&mut self, tick: &Tick) {
        let start = self.samples.len();
        self.samples.extend_from_slice(tick.samples());
        self.runs.push(Run { owner: tick.owner(), time_ms: tick.time_ms(), start, end: self.samples.len() });
    }

    /// Seals it: the columns of all that was pushed, none if nothing was.
    pub fn seal(&mut self) -> Option<Window> {
        let window = self.peek();
        self.runs.clear();
        self.samples.clear();
        window
    }

    /// What sealing would give, without doing so.
    pub fn peek(&mut self) -> Option<Window> {
        if self.samples.is_empty() {
            return None;
        }
        self.runs.sort_by_key(|run| (run.owner, run.time_ms));
        self.runs.dedup_by_key(|run| (run.owner, run.time_ms));
        let mut groups = Vec::new();
        let runs = std::mem::take(&mut self.runs);
        for (times, members) in by_common_times(&runs) {
            let group = self.columns_of(times, &members);
            if !group.series.is_empty() {
                groups.push(group);
            }
        }
        let times = runs.iter().map(|run| run.time_ms);
        let from_ms = times.clone().min().unwrap_or(self.from_ms).min(self.from_ms);
        let to_ms = (self.from_ms + self.length_ms).max(times.max().unwrap_or(0) + 1);
        self.runs = runs;
        Some(Window { from_ms, to_ms, groups })
    }

    /// One group of columns from the runs of the owners that share these instants.
    fn columns_of(&mut self, times_ms: Vec<TimeMs>, members: &[&[Run]]) -> Group {
        let catalog = Arc::clone(&self.catalog);
        let view = catalog.read();
        self.columns.resize(view.capacity(), NO_COLUMN);
        let mut group = Group { times_ms, series: Vec::new(), values: Vec::new() };
        for runs in members {
            let first = group.series.len();
            let ids = self.assign_columns(runs, &view, &mut group);
            let n_times = group.times_ms.len();
            group.values.resize(group.series.len() * n_times, ABSENT);
            for (position, run) in runs.iter().enumerate() {
                for sample in &self.samples[run.start..run.end] {
                    let column = self.columns[sample.id.index()];
                    // A late pass may hold an id whose place another series has now.
                    if column != NO_COLUMN && ids[column as usize - first] == sample.id {
                        group.values[column as usize * n_times + position] = sample.value;
                    }
                }
            }
            for id in ids {
                self.columns[id.index()] = NO_COLUMN;
            }
        }
        group
    }

    fn assign_columns(&mut self, runs: &[Run], view: &CatalogView<'_>, group: &mut Group) -> Vec<SeriesId> {
        let mut ids = Vec::new();
        for sample in runs.iter().flat_map(|run| &self.samples[run.start..run.end]) {
            let column = &mut self.columns[sample.id.index()];
            if *column == NO_COLUMN
                && let Some(series) = view.get(sample.id)
            {
                *column = group.series.len() as u32;
                group.series.push(Arc::clone(series));
                ids.push(sample.id);
            }
        }
        ids
    }
}

/// Owners whose ticks came at the very same instants share one column of times.
fn by_common_times(runs: &[Run]) -> Vec<(Vec<TimeMs>, Vec<&[Run]>)> {
    let mut groups: Vec<(Vec<TimeMs>, Vec<&[Run]>)> = Vec::new();
    for owner_runs in runs.chunk_by(|a, b| a.owner == b.owner) {
        let times = owner_runs.iter().map(|run| run.time_ms);
        match groups.iter_mut().find(|(known, _)| known.iter().copied().eq(times.clone())) {
            Some((_, members)) => members.push(owner_runs),
            None => groups.push((times.collect(), vec![owner_runs])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use fieldpost_model::is_absent;

    use super::*;

    fn tick(catalog: &Arc<Catalog>, owner: u16, time_ms: TimeMs, samples: &[(&str, f64)]) -> Tick {
        let mut tick = Tick::new(Arc::clone(catalog), Owner(owner));
        tick.begin(time_ms);
        for (name, value) in samples {
            let id = tick.gauge(name, "Help.", &[]);
            tick.set(id, *value);
        }
        tick
    }

    #[test]
    fn ticks_become_columns_by_common_times() {
        let catalog = Catalog::new();
        let mut open = OpenWindow::new(Arc::clone(&catalog), 10_000);
        open.open(20_500);
        for time in [21_000, 22_000] {
            open.push(&tick(&catalog, 1, time, &[("a", time as f64)]));
            open.push(&tick(&catalog, 2, time, &[("b", 1.0)]));
        }
        open.push(&tick(&catalog, 3, 22_000, &[("slow", 7.0)]));
        assert_eq!(open.peek().unwrap().n_samples(), 5, "looking at it takes nothing away");
        let window = open.seal().unwrap();
        assert_eq!((window.from_ms, window.to_ms), (20_000, 30_000));
        assert_eq!(window.n_samples(), 5);
        assert_eq!(window.groups.len(), 2);
        assert_eq!(window.groups[0].column(0), [21_000.0, 22_000.0]);
        assert_eq!(window.groups[1].times_ms, [22_000]);
        assert!(open.seal().is_none());
    }

    #[test]
    fn series_that_comes_late_is_absent_before() {
        let catalog = Catalog::new();
        let mut open = OpenWindow::new(Arc::clone(&catalog), 10_000);
        open.push(&tick(&catalog, 1, 1_000, &[("a", 1.0)]));
        open.push(&tick(&catalog, 1, 2_000, &[("a", 1.0), ("b", 2.0)]));
        let window = open.seal().unwrap();
        let b = window.groups[0].column(1);
        assert!(is_absent(b[0]));
        assert_eq!(b[1], 2.0);
    }

    #[test]
    fn window_is_over_beyond_either_end() {
        let catalog = Catalog::new();
        let mut open = OpenWindow::new(Arc::clone(&catalog), 10_000);
        assert!(!open.is_over(5));
        open.open(20_000);
        open.push(&tick(&catalog, 1, 20_000, &[("a", 1.0)]));
        assert!(!open.is_over(29_999));
        assert!(open.is_over(30_000));
        assert!(open.is_over(19_999), "the clock was set back");
    }
}
