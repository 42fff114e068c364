//! The one binary: reads the command line and does what it says. The shim of a run is the same
//! binary, but has to stay small: it is told apart before anything else is touched.

use std::process::ExitCode;

use clap::Parser;
use fieldpost::cli::Cli;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "shim") {
        return fieldpost::jobs::shim::main(std::env::args_os().nth(2).as_deref());
    }
    Cli::parse().run()
}
