//! `fieldpost man`: the manual, made from the same definition as the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::{Global, definition, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost man | man -l -
  fieldpost man --out target/man";

/// Print the manual page, or write the pages of all commands
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Write one page for each command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints or writes the manual.
pub fn run(args: &Args, _global: &Global) -> anyhow::Result<ExitCode> {
    match &args.out {
        Some(dir) => write_all(dir)?,
        None => terminal::out(&page(definition())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: clap::Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(String::from_utf8(page)?)
}

fn write_all(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(definition(), dir)
        .with_context(|| format!("cannot write into {}", dir.display()))
}
