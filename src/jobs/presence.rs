//! Since when the agent has been here without a break, awake and taking new runs: a slot that came since then
//! was not missed, however busy it was.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fieldpost_model::TimeMs;
use parking_lot::Mutex;

use super::handle::Jobs;

/// How often it is noted that the agent is here.
const NOTE_PERIOD: Duration = Duration::from_secs(5);

/// Shorter breaks are those of an agent that is busy; after longer ones the machine was asleep, or its clock was
/// set.
const BREAK_MS_MAX: i64 = 15_000;
/// A clock that was set back by more than this is a break.
const BACK_MS_MAX: i64 = 1_000;

/// A span in which the agent was here.
#[derive(Debug, Clone, Copy)]
struct Span {
    since_ms: TimeMs,
    seen_ms: TimeMs,
}

impl Span {
    fn goes_on(&self, now_ms: TimeMs) -> bool {
        (-BACK_MS_MAX..=BREAK_MS_MAX).contains(&(now_ms - self.seen_ms))
    }
}

/// The span that goes on.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<Option<Span>>);

impl Presence {
    /// Notes, again and again, that the agent is here, and whether it takes new runs: while it does not, it is
    /// as if it were not here.
    pub(super) fn note(&self, now_ms: TimeMs, takes_new: bool) {
        let mut span = self.0.lock();
        let before = span.filter(|span| takes_new && span.goes_on(now_ms));
        *span = Some(Span { since_ms: before.map_or(now_ms, |span| span.since_ms), seen_ms: now_ms });
    }

    /// Since when it is here; now, after a break.
    pub(super) fn since(&self, now_ms: TimeMs) -> TimeMs {
        self.0.lock().filter(|span| span.goes_on(now_ms)).map_or(now_ms, |span| span.since_ms)
    }
}

impl Jobs {
    /// Notes it for as long as the agent runs.
    pub(super) fn begin_presence(&self) {
        let jobs = self.clone();
        self.shared.runtime.spawn(async move {
            while !jobs.shared.ending.load(Ordering::Acquire) {
                jobs.shared.presence.note(jobs.now_ms(), jobs.takes_new());
                tokio::time::sleep(NOTE_PERIOD).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_ends_with_a_break_a_set_clock_and_while_nothing_new_is_taken() {
        let presence = Presence::default();
        assert_eq!(presence.since(7), 7, "it was never here");
        for at in [100_000, 110_000, 124_000] {
            presence.note(at, true);
        }
        assert_eq!((presence.since(138_000), presence.since(140_000)), (100_000, 140_000));
        presence.note(140_000, true);
        assert_eq!(presence.since(141_000), 140_000, "it slept");
        presence.note(50_000, true);
        assert_eq!(presence.since(50_500), 50_000, "the clock was set back");
        presence.note(55_000, false);
        presence.note(60_000, false);
        presence.note(65_000, true);
        assert_eq!(presence.since(66_000), 60_000, "it took nothing new");
    }
}
