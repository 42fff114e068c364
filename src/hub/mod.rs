//! The hub: knows the agents, takes in what they recorded and keeps it for whoever asks. It knows
//! nothing of HTTP handlers or of the terminal.

mod agents;
mod attempts;
mod backup;
mod config;
mod core;
mod coverage;
mod deliver;
mod enrol;
mod fleet;
mod intake;
mod jobs;
mod keys;
mod links;
mod live;
mod live_runs;
mod orders;
mod past;
mod people;
mod places;
mod poller;
mod presence;
mod pushed;
mod query;
mod reception;
mod renewal;
mod results;
mod runs;
mod scrape;
mod standing;
mod status;
mod targets;
mod upkeep;

pub use agents::{AgentView, Coverage};
pub use backup::{Kept, back_up, restore};
pub use config::{Agents, Api, Config, Labels, Limits, Retention, Store, Tls};
pub use core::{Clock, Hub, HubOptions, Keeps};
pub use coverage::{CoverageStretch, Known};
pub use enrol::{PollWish, TokenWish};
pub use fieldpost_link::{LiveSeries, LiveTick};
pub use fieldpost_store::hub::{LogAsk, LogPlace};
pub use fleet::{FleetHost, Fullest, JobsSum, Measures, Pressure, Top};
pub use links::{Link, LinkState, Links};
pub use live::{Live, LiveNews, LiveWatcher};
pub use live_runs::{FleetRun, FleetRuns, LiveWish, SilentAgent};
pub use orders::{OrderFault, OrderWish};
pub use past::{Blame, PastProcesses, PastUnits};
pub use people::{NewApiTokenWish, SESSION_LIFE, SignInFault, SignInLink};
pub use places::{Place, Places};
pub use poller::poll;
pub use pushed::{PushFault, Receipt, Refused};
pub use reception::{JoinDetails, JoinedDetails};
pub use results::ResultView;
pub use runs::{Ending, GapView, RunFault, RunView};
pub use scrape::{
    Action, Anchored, Authorization, BasicAuth, FileSdConfig, InTheOpen, ReadGroups, RelabelConfig, Scheme,
    ScrapeJob, StaticConfig, TlsConfig, scrape,
};
pub use status::{BackupMade, BackupWish, LocalDoor, Reloaded, Status};
pub use targets::{Match, Matches, Misfit};
pub use upkeep::keep_up;
