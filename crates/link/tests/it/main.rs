//! The link from outside: agents and hubs over real sockets on loopback.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bed;

/// What the authority signs.
mod authority;

/// Requests, bodies and ends of a link that works.
mod link;

/// Who must not come in, and what both sides are told.
mod strangers;

/// Bytes that were cut, changed or held back on their way.
mod faults;

/// How hosts and hubs come to know each other.
mod enrol;

/// The agent's loop: down, up, and down again.
mod dialler;

/// Agents that wait to be dialled.
mod listener;

/// The outer TLS ended by a real nginx.
mod nginx;
