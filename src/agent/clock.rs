//! The clocks that the sampler goes by, as an argument, so that tests can turn them.

use std::time::Duration;

use fieldpost_model::TimeMs;
use rustix::time::{ClockId, clock_gettime};

/// What time it is, by three clocks.
pub trait Clock: Send + Sync {
    /// The wall clock: time since 1970.
    fn wall(&self) -> Duration;
    /// The wall clock, in whole milliseconds.
    fn wall_ms(&self) -> TimeMs {
        self.wall().as_millis() as TimeMs
    }
    /// Time that has passed while the machine was awake.
    fn awake(&self) -> Duration;
    /// Time that has passed since boot, sleep included.
    fn since_boot(&self) -> Duration;
}

/// The machine's own clocks.
pub struct SystemClock;

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        // Through the C library, as all other programs see it.
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }

    fn awake(&self) -> Duration {
        read(ClockId::Monotonic)
    }

    fn since_boot(&self) -> Duration {
        read(ClockId::Boottime)
    }
}

/// What happened to the clocks between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The machine slept for so many milliseconds.
    Slept(i64),
    /// The wall clock was set forward (or back, if negative) by so many milliseconds.
    Jumped(i64),
}

/// The wall clock may drift from the others by this much between two looks, ms (slewing by NTP).
const DRIFT_ALLOWED_MS: i64 = 500;

/// Compares the clocks from look to look.
pub struct ClockWatch {
    wall_ms: TimeMs,
    awake: Duration,
    since_boot: Duration,
}

impl ClockWatch {
    /// The first look.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { wall_ms: clock.wall_ms(), awake: clock.awake(), since_boot: clock.since_boot() }
    }

    /// Another look: what happened since the last one.
    pub fn look(&mut self, clock: &dyn Clock) -> Option<Disturbance> {
        let before = std::mem::replace(self, Self::new(clock));
        let slept = elapsed_ms(before.since_boot, self.since_boot) - elapsed_ms(before.awake, self.awake);
        let jumped = (self.wall_ms - before.wall_ms) - elapsed_ms(before.since_boot, self.since_boot);
        if jumped.abs() > DRIFT_ALLOWED_MS {
            Some(Disturbance::Jumped(jumped))
        } else if slept > DRIFT_ALLOWED_MS {
            Some(Disturbance::Slept(slept))
        } else {
            None
        }
    }
}

fn elapsed_ms(from: Duration, to: Duration) -> i64 {
    to.as_millis() as i64 - from.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Turned {
        wall: AtomicI64,
        awake: AtomicI64,
        boot: AtomicI64,
    }

    impl Clock for Turned {
        fn wall(&self) -> Duration {
            Duration::from_millis(self.wall.load(Ordering::Relaxed) as u64)
        }
        fn awake(&self) -> Duration {
            Duration::from_millis(self.awake.load(Ordering::Relaxed) as u64)
        }
        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.boot.load(Ordering::Relaxed) as u64)
        }
    }

    #[test]
    fn sleep_and_jumps_are_told_apart() {
        let clock = Turned::default();
        clock.wall.store(1_700_000_000_000, Ordering::Relaxed);
        let mut watch = ClockWatch::new(&clock);
        let mut pass = |wall, awake, boot| {
            clock.wall.fetch_add(wall, Ordering::Relaxed);
            clock.awake.fetch_add(awake, Ordering::Relaxed);
            clock.boot.fetch_add(boot, Ordering::Relaxed);
            watch.look(&clock)
        };
        assert_eq!(pass(1_000, 1_000, 1_000), None);
        assert_eq!(pass(1_010, 1_000, 1_000), None, "slewing is no jump");
        assert_eq!(pass(61_000, 1_000, 61_000), Some(Disturbance::Slept(60_000)));
        assert_eq!(pass(3_601_000, 1_000, 1_000), Some(Disturbance::Jumped(3_600_000)));
        assert_eq!(pass(-86_399_000, 1_000, 1_000), Some(Disturbance::Jumped(-86_400_000)));
    }
}
