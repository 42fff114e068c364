//! `fieldpost info`: what this machine is.

use std::process::ExitCode;

use super::Global;

const EXAMPLES: &str = "\
Examples:
  fieldpost info os
  fieldpost info disk --json";

/// What may be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Kernel, distribution, uptime.
    Os,
    /// Processors and their use.
    Cpu,
    /// Memory and swap.
    Mem,
    /// Disks and file systems.
    Disk,
    /// Network interfaces.
    Nic,
}

/// Show what this machine is and how it is doing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// About what
    #[arg(value_enum)]
    pub subject: Subject,
}

/// Does what was asked for.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no info yet")
}
