//! The hub: knows the agents, takes in what they recorded and keeps it for whoever asks. It knows
//! nothing of HTTP handlers or of the terminal.

mod agents;
mod config;
mod core;
mod enrol;
mod intake;
mod keys;
mod links;
mod people;
mod presence;
mod pushed;
mod reception;
mod scrape;
mod status;
mod upkeep;

pub use agents::{AgentView, Coverage};
pub use config::{Agents, Api, Config, Labels, Limits, Retention, Store, Tls};
pub use core::{Clock, Hub, HubOptions};
pub use enrol::TokenWish;
pub use links::{Link, LinkState, Links};
pub use people::{SESSION_LIFE, SignInFault};
pub use pushed::{PushFault, Receipt, Refused};
pub use reception::{JoinDetails, JoinedDetails};
pub use scrape::{Authorization, BasicAuth, Scheme, ScrapeJob, StaticConfig, TlsConfig, scrape};
pub use status::{LocalDoor, Reloaded, Status};
pub use upkeep::keep_up;
