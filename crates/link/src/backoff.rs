//! How long to wait before dialling again: longer after each failure, and each time by chance, so
//! that a thousand agents do not come back at the same instant.

use std::time::Duration;

use aws_lc_rs::rand;

/// The ceiling after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The highest ceiling, where nothing else is wanted.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The pause before the next try. `failures`: in a row, at least 1. `longest`: the highest
/// ceiling. `random`: from 0 to 1.
pub fn backoff(failures: u32, longest: Duration, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest).mul_f64(random.clamp(0.0, 1.0))
}

/// A number from 0 to 1 that nobody can foresee; spreads what would happen at one instant. Where
/// the system has no randomness everybody waits half as long as they may.
pub fn chance() -> f64 {
    let mut bytes = [0; 8];
    match rand::fill(&mut bytes) {
        Ok(()) => (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64,
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_a_share() {
        let chances: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance != chances[0]));
    }

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        let ceilings: Vec<u64> =
            (1..=8).map(|failures| backoff(failures, PAUSE_MAX, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX, PAUSE_MAX, 1.0), PAUSE_MAX);
        assert_eq!(backoff(9, Duration::from_secs(5), 1.0), Duration::from_secs(5));
        assert_eq!(backoff(0, PAUSE_MAX, 1.0), FIRST);
        assert_eq!(backoff(5, PAUSE_MAX, 0.0), Duration::ZERO);
        assert_eq!(backoff(5, PAUSE_MAX, 0.5), Duration::from_secs(8));
        assert_eq!(backoff(5, PAUSE_MAX, f64::NAN.max(0.0)), Duration::ZERO);
    }
}
