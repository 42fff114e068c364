//! Places for what goes on for a while: so many in all, and so many for each who asks, or is asked.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Who holds how many.
pub struct Places {
    held: Arc<Mutex<HashMap<String, usize>>>,
    n_each: usize,
    n_in_all: usize,
}

/// A place; free again once this is dropped.
pub struct Place {
    places: Arc<Mutex<HashMap<String, usize>>>,
    who: String,
}

impl Places {
    /// So many for each, and so many in all.
    pub fn new(n_each: usize, n_in_all: usize) -> Self {
        Self { held: Arc::default(), n_each, n_in_all }
    }

    /// A place for somebody, if there is one left.
    pub fn take(&self, who: &str) -> Option<Place> {
        let mut held = self.held.lock();
        let own = held.get(who).copied().unwrap_or_default();
        if own >= self.n_each || held.values().sum::<usize>() >= self.n_in_all {
            return None;
        }
        held.insert(who.to_owned(), own + 1);
        Some(Place { places: Arc::clone(&self.held), who: who.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(own) = held.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_those_left_are_free_again() {
        let places = Places::new(3, 10);
        let taken: Vec<_> = std::iter::from_fn(|| places.take("a")).collect();
        assert_eq!(taken.len(), 3);
        let others: Vec<_> = (0..10).map_while(|n| places.take(&format!("b{n}"))).collect();
        assert_eq!(others.len(), 7);
        drop((taken, others));
        assert!(places.take("a").is_some() && places.held.lock().is_empty());
    }
}
