//! Whether the wall clock may be believed: what is let go by age is gone for good, and a clock
//! that was set a year ahead by mistake makes everything old. So nothing goes by age before the
//! wall clock has kept pace with the monotonic one for an hour, and the present is never later
//! than the newest that is stored.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::TimeMs;
use parking_lot::Mutex;

/// The wall clock, as an argument.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;
/// A clock that nobody sets, as an argument: time since some instant of its own.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How long the two clocks must have agreed.
const AGREED_FOR: Duration = Duration::from_secs(3_600);
/// What they may differ by from one look to the next, and for each second between the two.
const DRIFT_ALLOWED: Duration = Duration::from_secs(2);
const DRIFT_SHARE: u32 = 1_000;
/// Looks at the one clock around a look at the other, before they count as torn apart.
const N_LOOKS: usize = 5;

/// Two clocks, and since when they agree.
pub(crate) struct Belief {
    wall: Clock,
    monotonic: Monotonic,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    wall_ms: TimeMs,
    monotonic: Duration,
    agreed_since: Duration,
}

impl Belief {
    /// Begins to look: the hour begins now.
    pub(crate) fn new(wall: Clock, monotonic: Monotonic) -> Self {
        let belief = Self { wall, monotonic, seen: Mutex::new(None) };
        belief.now_ms();
        belief
    }

    /// The wall clock where it may be believed. To be asked every few minutes at least, for a
    /// jump is seen only between two looks.
    pub(crate) fn now_ms(&self) -> Option<TimeMs> {
        let mut seen = self.seen.lock();
        let (wall_ms, monotonic) = self.look();
        let last = seen.unwrap_or(Seen { wall_ms, monotonic, agreed_since: monotonic });
        let elapsed = monotonic.saturating_sub(last.monotonic);
        let expected_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let off_ms = wall_ms.saturating_sub(last.wall_ms).saturating_sub(expected_ms).unsigned_abs();
        let agrees = u128::from(off_ms) <= (DRIFT_ALLOWED + elapsed / DRIFT_SHARE).as_millis();
        let agreed_since = if agrees { last.agreed_since } else { monotonic };
        *seen = Some(Seen { wall_ms, monotonic, agreed_since });
        (monotonic.saturating_sub(agreed_since) >= AGREED_FOR).then_some(wall_ms)
    }

    /// Both clocks at the same instant, however long this thread is kept waiting between the two.
    fn look(&self) -> (TimeMs, Duration) {
        let mut before = (self.monotonic)();
        let mut wall_ms = (self.wall)();
        for _ in 0..N_LOOKS {
            let after = (self.monotonic)();
            if after.saturating_sub(before) < DRIFT_ALLOWED / 2 {
                break;
            }
            (before, wall_ms) = (after, (self.wall)());
        }
        (wall_ms, before)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn clock_is_believed_an_hour_after_it_was_set() {
        let (wall, monotonic) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
        let both = (Arc::clone(&wall), Arc::clone(&monotonic));
        let belief = Belief::new(
            Arc::new(move || both.0.load(Ordering::Relaxed)),
            Arc::new(move || Duration::from_millis(both.1.load(Ordering::Relaxed) as u64)),
        );
        let at = |wall_ms: i64, monotonic_ms: i64| {
            wall.store(wall_ms, Ordering::Relaxed);
            monotonic.store(monotonic_ms, Ordering::Relaxed);
            belief.now_ms()
        };
        assert_eq!(at(0, 0), None);
        assert_eq!(at(3_599_000, 3_599_000), None);
        assert_eq!(at(3_600_500, 3_600_000), Some(3_600_500), "slewing is no jump");
        let year_ms = 31_536_000_000;
        assert_eq!(at(year_ms, 3_660_000), None);
        assert_eq!(at(year_ms + 3_540_000, 7_200_000), None);
        assert_eq!(at(7_200_000, 7_200_000), None, "back again is a jump, too");
        assert_eq!(at(10_800_000, 10_800_000), Some(10_800_000));
    }
}
