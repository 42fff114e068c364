//! The config: gathers the `Config` of every room, loads it from files, environment and flags, and
//! says of each value who gave it, and of each fault where it stands. It decides nothing else.
//!
//! ```text
//! default < agent.yaml < conf.d/*.yaml < environment < flags
//! default < hub.yaml   < hub.d/*.yaml  < environment < flags
//! ```
//!
//! Each face of the program has a root of its own; what the other one is told by a variable of the
//! environment is none of its business.

mod agent;
mod change;
mod effective;
mod hub;
mod job_files;
mod key;
mod limits;
mod load;
mod problem;
mod root;
mod source;
mod targets;
pub mod yaml;

pub use agent::{Api, Config};
pub use change::{Change, changes, taken_over};
pub use effective::{Origin, Row};
pub use job_files::{JobText, JobTextFault, faults_of_text, job_files};
pub use key::KeyPath;
pub use load::{Loaded, Request, Setting};
pub use problem::{Problem, Problems, Source};
pub use root::{Names, Root};
pub use source::Files;
pub use targets::target_groups;
