//! The command line: one subcommand, one file. The only place that wires rooms together, reads
//! the environment and prints.

mod agent;
mod beacon;
mod check;
mod completions;
mod culprit;
mod daemon_control;
mod data;
mod events;
mod exit;
mod export;
mod find;
mod foreground;
mod global;
mod holder;
mod hub;
mod hub_serve;
mod import;
mod info;
mod instant;
mod invite;
mod job_door;
mod jobs;
mod jobs_at_hub;
mod jobs_of_host;
mod join;
mod killall;
mod leave;
mod man;
mod messages;
mod own_metrics;
mod process_setup;
mod processes;
mod programs_door;
mod query;
mod reloading;
mod run;
mod runs;
mod sample;
mod series;
mod serve;
mod server;
mod terminal;
mod top;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use global::Global;

/// One small monitoring agent for Linux hosts that loses nothing and names the culprit.
#[derive(Debug, Parser)]
#[command(
    name = "fieldpost",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = exit::HELP
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Agent(agent::Args),
    Hub(hub::Args),
    Join(join::Args),
    Leave(leave::Args),
    Invite(invite::Args),
    Check(check::Args),
    Sample(sample::Args),
    Info(info::Args),
    Processes(processes::Args),
    Culprit(culprit::Args),
    Top(top::Args),
    Query(query::Args),
    Series(series::Args),
    Events(events::Args),
    Export(export::Args),
    Run(Box<run::Args>),
    Runs(runs::Args),
    Killall(killall::Args),
    Jobs(jobs::ListArgs),
    Job(jobs::Args),
    Messages(messages::Args),
    Import(import::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The whole command line, for completions and man pages.
fn definition() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Does what was asked for and says how it ended.
    pub fn run(self) -> ExitCode {
        let global = self.global;
        let done = match self.command {
            Command::Up(args) => up::run(&args, &global),
            Command::Agent(args) => agent::run(&args, &global),
            Command::Hub(args) => hub::run(&args, &global),
            Command::Join(args) => join::run(&args, &global),
            Command::Leave(args) => leave::run(&args, &global),
            Command::Invite(args) => invite::run(&args, &global),
            Command::Check(args) => check::run(&args, &global),
            Command::Sample(args) => sample::run(&args, &global),
            Command::Info(args) => info::run(&args, &global),
            Command::Processes(args) => processes::run(&args, &global),
            Command::Culprit(args) => culprit::run(&args, &global),
            Command::Top(args) => top::run(&args, &global),
            Command::Query(args) => query::run(&args, &global),
            Command::Series(args) => series::run(&args, &global),
            Command::Events(args) => events::run(&args, &global),
            Command::Export(args) => export::run(&args, &global),
            Command::Run(args) => run::run(&args, &global),
            Command::Runs(args) => runs::run(&args, &global),
            Command::Killall(args) => killall::run(&args, &global),
            Command::Jobs(args) => jobs::list(&args, &global),
            Command::Job(args) => jobs::run(&args, &global),
            Command::Messages(args) => messages::run(&args, &global),
            Command::Import(args) => import::run(&args, &global),
            Command::Completions(args) => completions::run(&args, &global),
            Command::Man(args) => man::run(&args, &global),
        };
        done.unwrap_or_else(|error| exit::tell(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_and_its_arguments_too() {
        for command in definition().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
