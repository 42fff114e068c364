//! HTTP: thin handlers over the handles of agent and hub. The doors of the agent: the metrics page's
//! listener, which serves nothing but metrics and health, the one for programs that ask a Prometheus,
//! and the Unix socket of its owner. The doors of the hub: its listener for people, programs and links,
//! and its owner's Unix socket.

mod agent_query;
mod gate;
mod hub;
mod hub_door;
mod hub_local;
mod jobs;
mod link;
mod local;
mod manners;
mod messages;
mod metrics;
mod orders;
mod page;
mod problem;
mod query;
mod server;
mod stall;
mod standing;
mod tasks;

pub use agent_query::router as agent_http_router;
pub use gate::{Need, Principal, Route};
pub use hub::{
    ApiTokenMade, ApiTokenRequest, ApiTokenView, AuditPage, AuditProof, Disabling, Fault, HostJobs,
    HubJobView, HubRunList, JobCheck, JobList, JobWish, NamedJob, NewPassword, NewRole, PollChange,
    PollRequest, Pong, QueueList, QueueView, QueuedRun, ResultList, RunOrder, RunsOrdered, Settled, Settling,
    SignInLinkMade, StatusChange, TargetQuestion, TokenMade, TokenRequest, UserRequest, routes as hub_routes,
};
pub use hub_door::{local_router as hub_local_router, public_router as hub_public_router};
pub use jobs::{
    Caller, Ceiling, KillAnswer, KillRequest, RunList, RunRequest, RunStats, RunView, routes as job_routes,
};
pub use link::{HubPrincipal, router as link_router};
pub use local::{Processes, Value, Values, router as local_router};
pub use messages::{Message, MessageList};
pub use metrics::{MetricsState, router as metrics_router};
pub use orders::{Granted, OrderRequest};
pub use page::{OwnMetrics, Page};
pub use problem::Problem;
pub use server::{Handshake, Listener, Peer, Stream, serve};
pub use standing::{KillAllRequest, RestartAnswer, StatusRequest};
pub use tasks::{TaskList, TriggerRequest};
