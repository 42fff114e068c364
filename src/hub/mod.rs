//! The hub: knows the agents, takes in what they recorded and keeps it for whoever asks. It knows
//! nothing of HTTP handlers or of the terminal.

mod config;
mod status;

pub use config::{Agents, Api, Config, Labels, Limits, Retention, Store, Tls};
pub use status::{LocalDoor, Reloaded, Status};
