//! The formats from outside: what only a whole process can show.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

/// Requests made to take memory take little.
mod memory;
