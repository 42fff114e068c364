//! Keeps the log short: each place in the code that logs may write so many lines an hour. What is
//! left out is counted, and told with the next line of that place.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines of one place in one span, at most.
const LINES_MAX: u32 = 60;
/// The span.
const SPAN: Duration = Duration::from_secs(3_600);

/// What one place has written.
#[derive(Debug)]
struct Site {
    since: Instant,
    written: u32,
    left_out: u64,
}

/// All places. A place is known by the address of its static description.
#[derive(Debug, Default)]
pub struct Sites {
    sites: HashMap<usize, Site>,
    left_out: u64,
}

impl Sites {
    /// May this place write a line now? If so, how many of its lines were left out before it.
    pub fn admit(&mut self, site: usize, now: Instant) -> Option<u64> {
        let site = self.sites.entry(site).or_insert(Site { since: now, written: 0, left_out: 0 });
        if now.duration_since(site.since) >= SPAN {
            (site.since, site.written) = (now, 0);
        }
        if site.written == LINES_MAX {
            site.left_out += 1;
            self.left_out += 1;
            return None;
        }
        site.written += 1;
        Some(std::mem::take(&mut site.left_out))
    }

    /// How many lines were left out since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_place_is_silenced_for_the_hour_and_then_told_what_was_left_out() {
        let (mut sites, start) = (Sites::default(), Instant::now());
        let admitted = (0..100).filter(|_| sites.admit(1, start).is_some()).count();
        assert_eq!(admitted, 60);
        assert_eq!(sites.admit(2, start), Some(0));
        assert_eq!(sites.admit(1, start + SPAN), Some(40));
        assert_eq!(sites.admit(1, start + SPAN), Some(0));
        assert_eq!(sites.left_out(), 40);
    }
}
