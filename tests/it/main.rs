//! The integration tests, one binary: each module is one thing that must be true of the whole program.
//!
//! - `backup`: a hub is backed up while it runs and restored; agents are asked for what came after.
//! - `config`: bad config files get their message, good ones are shown with the origin of each value.
//! - `daemon`: start, stop, status and reload keep their promises, and no innocent process is signalled.
//! - `dashboard`: people find in a real browser what they look for, by mouse, keyboard and thumb.
//! - `fuzz`: nothing that is read from outside can make the program panic or its page unreadable.
//! - `golden`: help, messages and a whole page are as they are stored.
//! - `hang`: a mount that hangs is told with its age, and holds up nothing else.
//! - `history`: what a process did is found again after it is gone, the agent restarted or stopped.
//! - `hostile`: names, files and folders that somebody chose to do harm with.
//! - `hub`: joining and being refused, the list of agents, the end of trust.
//! - `hub_faults`: nothing is lost and nothing twice, whatever is killed, cut or put back.
//! - `identity`: certificates are renewed whatever dies meanwhile; a copy is told from the agent.
//! - `hub_api`: the hub's doors let in whom the table says; sign-in stands; every refusal says why.
//! - `jobs`: runs outlive the agent, begin at most once, end when they have to, and are told as they were.
//! - `kill9`: what was called stored survives kill -9 at any instant, once.
//! - `live`: who watches an agent sees its ticks as changes, and holds up nothing.
//! - `node_exporter`: every series of the real node_exporter is found again, with its value.
//! - `packaging`: the Debian package installs, runs and goes; the unit falsifies nothing.
//! - `page`: the metrics listener: dialects, compression, choice, slow clients and many.
//! - `poll`: hubs that dial store what hubs that are dialled store; several hubs at once.
//! - `pair`: a hub and an agent that belongs to it, for the other modules.
//! - `powercut`: what was called stored survives power cuts; only in `make soak`.
//! - `promql`: the hub answers PromQL as a real Prometheus does that has the same samples.
//! - `promql_agent`: a lone agent answers PromQL, also of the newest second; the client shows it.
//! - `prometheus`: a real Prometheus scrapes the agent and answers what dashboards ask.
//! - `push`: what a real Prometheus and others push is at the hub, sample by sample, or refused with a reason.
//! - `reload`: a reload loses no tick and no count, and says what it cannot change.
//! - `scrape`: the hub has of its targets the series that a real Prometheus has.
//! - `sinks`: receivers of others have every sample of the agent, also after they were down.
//! - `tidy`: rules of the house that a machine can keep: doors, homes, headers, sizes.
//! - `two_hosts`: a host joins a hub on another over a wire that breaks; network namespaces.
//! - `top`: the live view draws, obeys its keys and leaves the terminal as it was.

// A test that cannot go on says so by panicking, and what it has counted by printing, also outside
// of its #[test] function.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod backup;
mod config;
mod daemon;
mod dashboard;
mod fuzz;
mod golden;
mod hang;
mod history;
mod hostile;
mod hub;
mod hub_api;
mod hub_faults;
mod hub_trouble;
mod identity;
mod jobs;
mod kill9;
mod live;
mod node_exporter;
mod orders;
mod packaging;
mod page;
mod pair;
mod poll;
mod powercut;
mod prometheus;
mod promql;
mod promql_agent;
mod push;
mod reload;
mod scrape;
mod scrape_guarded;
mod sinks;
mod tidy;
mod top;
mod two_hosts;
mod up;

/// A file of the repository.
fn repository_file(path: &str) -> std::path::PathBuf {
    fieldpost_bed::repository().join(path)
}

/// The program under test.
fn fieldpost() -> &'static str {
    env!("CARGO_BIN_EXE_fieldpost")
}
