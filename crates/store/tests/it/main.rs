//! The store from outside: what is taken in comes back, whatever happens in between.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod data;

/// Append, close, open, read: the plain life of a store.
mod life;

/// The history of processes and units.
mod tables;

/// A clock that is set while the store is open.
mod clock;

/// Hours and days that are merged while others read.
mod merge;

/// Killed at any instant: what was acknowledged is there, once.
mod crash;

/// Random acts, compared with a map in memory.
mod model;

/// Damaged bytes: the store starts, says so, and keeps the rest.
mod damage;

/// A disk that is full, and one that has room again.
mod full;

/// The runs of all agents at the hub.
mod hub_runs;

/// The hub's agents, tokens, users and audit log.
mod hub_state;

/// Runs and tasks of the agent's jobs.
mod jobs;

/// The queue towards hubs: what they read.
mod spool;

/// What hubs have acknowledged, and what is merged when.
mod spool_cursors;

/// Random acts of hubs, compared with sets of numbers.
mod spool_model;

/// What an agent sends, and a hub's store in a folder of its own.
mod hub_data;

/// Items of many agents come in, once each, and are read back.
mod hub_intake;

/// Hours and days are merged at the hub, and let go.
mod hub_merge;

/// What is asked of the hub besides samples: coverage, notes, the history of processes; backups.
mod hub_questions;

/// A real agent's record, as a hub stores and answers it.
mod hub_agent;

/// A full disk, damage, and hostile agents at the hub.
mod hub_trouble;

/// The hub is killed at any instant: what was acknowledged is there, once.
mod hub_crash;

/// Stores that earlier versions wrote, kept as files.
mod versions;
