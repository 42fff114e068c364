//! The agent: samples this machine at fixed intervals, keeps the newest values for whoever asks,
//! and hands sealed windows to the store. It knows nothing of HTTP, of the hub or of files.

mod apart;
mod board;
mod ceiling;
mod clock;
mod config;
mod facts;
mod handle;
mod history;
mod hubs;
mod identities;
mod inbound;
mod invitation;
mod live;
mod outbox;
mod pace;
mod processes;
mod query;
mod sampler;
mod status;
mod uplinks;
mod window;

pub use board::{Board, BoardView, CollectorState, Shown};
pub use ceiling::Ceiling;
pub use clock::{Clock, SystemClock};
pub use config::{History, Http, Link, Metrics};
pub use fieldpost_link::{Acknowledgement, ItemMark, RecordHead};
pub use handle::{Agent, Identity, Reload, Reloaded, SamplerStats, Witness};
pub use hubs::{Hubs, Membership, agent_id};
pub use identities::Identities;
pub use invitation::Invitations;
pub use live::Watchers;
pub use outbox::{Order, Outbox};
pub use processes::ProcessTable;
pub use sampler::SamplerOptions;
pub use status::{CollectorStatus, Status, StoreStatus};
pub use uplinks::{Introduction, ServeHub, UplinkOptions, UplinkStatus, Uplinks};

/// Is there a collector of this name, on or off?
pub fn is_collector(name: &str) -> bool {
    fieldpost_collectors::COLLECTORS.iter().any(|entry| entry.name == name)
}
