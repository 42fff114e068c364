//! The rhythm in which items go to hubs: at once, or together every so often, for lines on which
//! each packet costs.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The rhythm of one agent; all streams and hubs share it, so that they share the packets.
pub struct Pace {
    every: Duration,
    begun: Instant,
    /// At the end of the agent everything goes at once.
    hurry: watch::Sender<bool>,
}

impl Pace {
    /// Items go no more often than this; zero: as they are sealed.
    pub fn new(every: Duration) -> Self {
        Self { every, begun: Instant::now(), hurry: watch::Sender::new(false) }
    }

    /// Is there no rhythm?
    pub fn is_at_once(&self) -> bool {
        self.every.is_zero()
    }

    /// From now on items go at once.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// The number of the present turn.
    pub fn turn(&self) -> u128 {
        self.begun.elapsed().as_nanos() / self.every.as_nanos().max(1)
    }

    /// May somebody send who has last sent in this turn?
    pub fn is_open(&self, sent: Option<u128>) -> bool {
        self.is_at_once() || *self.hurry.borrow() || sent.is_none_or(|sent| sent < self.turn())
    }

    /// Waits for the next turn, but no longer than this.
    pub async fn next_turn(&self, at_most: Duration) {
        let passed = self.begun.elapsed().as_nanos() % self.every.as_nanos().max(1);
        let rest = self.every.saturating_sub(Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX)));
        let mut hurry = self.hurry.subscribe();
        tokio::select! {
            () = tokio::time::sleep(rest.min(at_most)) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turn_is_open_once_and_in_a_hurry_always() {
        let pace = Pace::new(Duration::from_secs(3_600));
        assert!(pace.is_open(None));
        assert!(!pace.is_open(Some(pace.turn())));
        pace.hurry();
        assert!(pace.is_open(Some(pace.turn())));
        // Returns at once, or this test would take an hour.
        pace.next_turn(Duration::from_secs(3_600)).await;
        assert!(Pace::new(Duration::ZERO).is_open(Some(u128::MAX)));
    }
}
