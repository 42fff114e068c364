//! What hubs may do on this host at most, as its owner says: in the config for all hubs alike, else
//! for each one as it was joined.

use fieldpost_model::RemoteJobs;
use tokio::sync::watch;

/// The ceiling in force. It may be moved while the agent runs.
#[derive(Debug)]
pub struct Ceiling {
    jobs: watch::Sender<Option<RemoteJobs>>,
}

impl Ceiling {
    /// With what the config says of jobs; `None`: nothing.
    pub fn new(jobs: Option<RemoteJobs>) -> Self {
        Self { jobs: watch::Sender::new(jobs) }
    }

    /// Moves it to what the config says now.
    pub fn set(&self, jobs: Option<RemoteJobs>) {
        self.jobs.send_if_modified(|kept| std::mem::replace(kept, jobs) != jobs);
    }

    /// The jobs that a hub may have run which was granted these when it was joined.
    pub fn jobs(&self, granted: RemoteJobs) -> RemoteJobs {
        self.jobs.borrow().unwrap_or(granted)
    }

    /// Tells when it moves.
    pub fn moves(&self) -> watch::Receiver<Option<RemoteJobs>> {
        self.jobs.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_counts_for_all_hubs_and_without_it_what_each_was_granted() {
        let ceiling = Ceiling::new(None);
        assert_eq!(ceiling.jobs(RemoteJobs::Named), RemoteJobs::Named);
        let moves = ceiling.moves();
        ceiling.set(None);
        assert!(!moves.has_changed().unwrap());
        ceiling.set(Some(RemoteJobs::Off));
        assert!(moves.has_changed().unwrap());
        assert_eq!(ceiling.jobs(RemoteJobs::Any), RemoteJobs::Off);
        ceiling.set(Some(RemoteJobs::Any));
        assert_eq!(ceiling.jobs(RemoteJobs::Off), RemoteJobs::Any);
    }
}
