//! A crowd of sleeping processes, to make a machine as full as a real one.

use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::machine::n_processes;

/// Sleepers; they end with this value, each by its own handle.
pub struct Crowd {
    sleepers: Vec<Child>,
}

impl Crowd {
    /// Adds sleepers until the machine has this many processes.
    pub fn until(n: usize) -> anyhow::Result<Self> {
        let mut crowd = Self { sleepers: Vec::new() };
        for _ in n_processes()..n {
            // Should this bench be killed, the kernel ends them.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "sleep", "86400"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            crowd.sleepers.push(command.spawn().context("cannot start setpriv; install util-linux")?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for sleeper in &mut self.sleepers {
            let _already_dead = sleeper.kill();
        }
        for sleeper in &mut self.sleepers {
            let _already_waited = sleeper.wait();
        }
    }
}
