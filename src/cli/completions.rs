//! `fieldpost completions`: the shell's completions, made from the same definition as the command line.

use std::process::ExitCode;

use clap_complete::Shell;

use super::{Global, definition, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost completions bash > /etc/bash_completion.d/fieldpost
  fieldpost completions fish > ~/.config/fish/completions/fieldpost.fish";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub fn run(args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "fieldpost", &mut script);
    terminal::out(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
