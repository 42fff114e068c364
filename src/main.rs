//! The one binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use fieldpost::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
