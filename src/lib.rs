//! The rooms of the one binary, in reading order, so that tests, benches and fuzzers reach them.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http_client;
pub mod hub;
pub mod jobs;
pub mod private_file;
pub mod seal;
pub mod shutdown;
pub mod sinks;
pub mod telemetry;
pub mod ui;
