//! Places for answers that have no end: so many in all, and so many for each who asks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Streams in all.
const N_IN_ALL: usize = 256;
/// Streams of one user, token or local user.
const N_EACH: usize = 16;

/// Who holds how many.
#[derive(Default)]
pub struct Places(Arc<Mutex<HashMap<String, usize>>>);

/// A place; free again once this is dropped.
pub struct Place {
    places: Arc<Mutex<HashMap<String, usize>>>,
    who: String,
}

impl Places {
    /// A place for somebody, if there is one left.
    pub fn take(&self, who: &str) -> Option<Place> {
        let mut held = self.0.lock();
        let own = held.get(who).copied().unwrap_or_default();
        if own >= N_EACH || held.values().sum::<usize>() >= N_IN_ALL {
            return None;
        }
        held.insert(who.to_owned(), own + 1);
        Some(Place { places: Arc::clone(&self.0), who: who.to_owned() })
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
        let places = Places::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.take("a")).collect();
        assert_eq!(taken.len(), N_EACH);
        let others: Vec<_> = (0..N_IN_ALL).map_while(|n| places.take(&format!("b{n}"))).collect();
        assert_eq!(others.len(), N_IN_ALL - N_EACH);
        drop((taken, others));
        assert!(places.take("a").is_some() && places.0.lock().is_empty());
    }
}
