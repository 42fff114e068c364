//! Jobs that are defined at the hub, and which agents have them.

use fieldpost_model::hub_state::{Act, HubJob, StateResult};

use super::Hub;

impl Hub {
    /// Keeps a job, in place of any of its name; its agents are told. Waits for the disk.
    pub fn define_job(&self, act: &Act, job: HubJob) -> StateResult<HubJob> {
        self.state.put_hub_job(act, &job)?;
        Ok(job)
    }

    /// Forgets a job; its agents are told, its runs stay.
    pub fn forget_job(&self, act: &Act, name: &str) -> StateResult<()> {
        self.state.remove_hub_job(act, name)
    }
}
