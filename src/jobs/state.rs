//! The runs that are not over, and whose turn it is: pure bookkeeping, without a clock or a disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fieldpost_model::job::{Run, RunState};

/// A run that is not over.
#[derive(Debug)]
pub struct Active {
    /// What is known of it.
    pub run: Run,
    /// Values that are nowhere else.
    pub secrets: BTreeMap<String, String>,
    /// Somebody wants its end, but there is nobody yet who could be told: the signal, if a certain
    /// one, and who.
    pub asked_to_end: Option<(Option<i32>, String)>,
    /// It has ended, and that is on its way to the disk; until it is there nobody is told.
    pub is_ending: bool,
    arrival: u64,
}

/// A place in a queue: who has the higher priority goes first, then who came first.
type Place = (std::cmp::Reverse<i32>, u64, String);

/// All runs that are not over.
#[derive(Debug, Default)]
pub struct State {
    active: HashMap<String, Active>,
    /// Who waits, by queue; those of no queue under no name.
    waiting: BTreeMap<String, BTreeSet<Place>>,
    /// How many go on, by queue.
    live: HashMap<String, u32>,
    n_live: u32,
    n_arrived: u64,
}

fn queue_of(run: &Run) -> String {
    run.job.queue.as_ref().map_or_else(String::new, |queue| queue.name.clone())
}

impl State {
    /// Takes a run in; it does not wait for its turn yet. `false`: there is one of this id.
    pub fn add(&mut self, run: Run, secrets: BTreeMap<String, String>) -> bool {
        if self.active.contains_key(&run.id) {
            return false;
        }
        self.n_arrived += 1;
        let active = Active { secrets, asked_to_end: None, is_ending: false, arrival: self.n_arrived, run };
        self.active.insert(active.run.id.clone(), active);
        true
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Active> {
        self.active.get(id)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Active> {
        self.active.get_mut(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Active> {
        self.active.values()
    }

    fn place(active: &Active) -> Place {
        let priority = active.run.job.queue.as_ref().map_or(0, |queue| queue.priority);
        (std::cmp::Reverse(priority), active.arrival, active.run.id.clone())
    }

    /// It waits for its turn from now on.
    pub fn enqueue(&mut self, id: &str) {
        if let Some(active) = self.active.get(id) {
            self.waiting.entry(queue_of(&active.run)).or_default().insert(Self::place(active));
        }
    }

    /// It does not wait any longer.
    pub fn dequeue(&mut self, id: &str) {
        let Some(active) = self.active.get(id) else { return };
        let queue = queue_of(&active.run);
        if let Some(places) = self.waiting.get_mut(&queue) {
            places.remove(&Self::place(active));
            if places.is_empty() {
                self.waiting.remove(&queue);
            }
        }
    }

    /// Whose turn it is, if anybody's; it goes on from now.
    pub fn next(&mut self, max_runs: u32) -> Option<String> {
        if self.n_live >= max_runs {
            return None;
        }
        let heads = self.waiting.iter().filter_map(|(queue, places)| Some((queue, places.first()?)));
        let has_room = |queue: &String, place: &Place| {
            let width =
                self.active.get(&place.2).and_then(|active| active.run.job.queue.as_ref()?.width.into());
            width.is_none_or(|width| self.live.get(queue).copied().unwrap_or(0) < width)
        };
        let (_, place) =
            heads.filter(|(queue, place)| has_room(queue, place)).min_by_key(|(_, place)| *place)?;
        let id = place.2.clone();
        self.dequeue(&id);
        self.goes_on(&id);
        Some(id)
    }

    /// Is it its turn already, because nobody waits? Then it goes on from now.
    pub fn begins_at_once(&mut self, id: &str, max_runs: u32) -> bool {
        let Some(active) = self.active.get(id) else { return false };
        let queue = queue_of(&active.run);
        let width = active.run.job.queue.as_ref().map(|queue| queue.width);
        let has_room = width.is_none_or(|width| self.live.get(&queue).copied().unwrap_or(0) < width);
        let at_once = self.waiting.is_empty() && self.n_live < max_runs && has_room;
        if at_once {
            self.goes_on(id);
        }
        at_once
    }

    /// It goes on, as one that was found again does.
    pub fn goes_on(&mut self, id: &str) {
        if let Some(active) = self.active.get(id) {
            *self.live.entry(queue_of(&active.run)).or_default() += 1;
            self.n_live += 1;
        }
    }

    /// It does not go on any longer.
    pub fn rests(&mut self, id: &str) {
        let Some(active) = self.active.get(id) else { return };
        let queue = queue_of(&active.run);
        if let Some(live) = self.live.get_mut(&queue) {
            *live = live.saturating_sub(1);
            if *live == 0 {
                self.live.remove(&queue);
            }
        }
        self.n_live = self.n_live.saturating_sub(1);
    }

    /// It is over, and on the disk as such.
    pub fn remove(&mut self, id: &str) -> Option<Active> {
        self.dequeue(id);
        self.active.remove(id)
    }

    /// How many go on.
    pub fn n_live(&self) -> u32 {
        self.n_live
    }

    /// How many wait for their turn.
    pub fn n_waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// Which place it has in its queue; the first is 1.
    pub fn position(&self, id: &str) -> Option<usize> {
        let active = self.active.get(id)?;
        let places = self.waiting.get(&queue_of(&active.run))?;
        places.iter().position(|place| place.2 == id).map(|place| place + 1)
    }

    /// Is any run of this job not over, whatever it waits for?
    pub fn has_any_of(&self, name: &str) -> bool {
        self.active.values().any(|active| active.run.job.name == name)
    }

    /// Runs of this job that are not over, but those that wait for a certain time. What is just being
    /// written down as over holds up nothing.
    pub fn of_job(&self, name: &str) -> Vec<String> {
        let of_job = self.active.values().filter(|active| active.run.job.name == name);
        of_job
            .filter(|active| active.run.state != RunState::Scheduled && !active.is_ending)
            .map(|active| active.run.id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::job::{Cause, Job, Queue};

    use super::*;

    fn add(state: &mut State, id: &str, queue: Option<(&str, u32, i32)>) {
        let queue = queue.map(|(name, width, priority)| Queue { name: name.into(), width, priority });
        let job = Job { queue, ..Job::default() };
        assert!(state.add(Run::new(id.into(), job, Cause::Asked, String::new(), 0), BTreeMap::new()));
        state.enqueue(id);
    }

    #[test]
    fn turns_go_by_priority_and_arrival_within_the_width() {
        let mut state = State::default();
        for (id, priority) in [("a", 0), ("b", 5), ("c", 0)] {
            add(&mut state, id, Some(("q", 1, priority)));
        }
        add(&mut state, "free", None);
        assert_eq!((state.position("c"), state.n_waiting()), (Some(3), 4));
        assert!(!state.begins_at_once("c", 10), "others wait");
        assert_eq!(state.next(10).as_deref(), Some("b"));
        assert_eq!(state.next(10).as_deref(), Some("free"));
        assert_eq!(state.next(10), None, "the queue is one wide");
        state.rests("b");
        state.remove("b");
        assert_eq!(state.next(1), None, "one goes on already");
        assert_eq!(state.next(2).as_deref(), Some("a"));
        state.remove("c");
        state.rests("a");
        assert_eq!((state.next(9), state.n_live(), state.n_waiting()), (None, 1, 0));
        let job = Job { queue: Some(Queue { name: "q".into(), width: 1, priority: 0 }), ..Job::default() };
        for id in ["d", "e"] {
            state.add(Run::new(id.into(), job.clone(), Cause::Asked, String::new(), 0), BTreeMap::new());
        }
        assert!(state.begins_at_once("d", 2) && !state.begins_at_once("e", 9));
        assert!(!state.add(state.get("a").unwrap().run.clone(), BTreeMap::new()));
    }
}
