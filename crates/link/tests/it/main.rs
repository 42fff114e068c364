//! The link from outside: agents and hubs over real sockets on loopback.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bed;

/// Requests, bodies and ends of a link that works.
mod link;

/// Who must not come in, and what both sides are told.
mod strangers;
