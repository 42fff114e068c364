//! HTTP: thin handlers over the handles of agent and hub. The doors of the agent: the metrics page's
//! listener, which serves nothing but metrics and health, and the Unix socket of its owner. The
//! door of the hub: the Unix socket of its owner.

mod hub_local;
mod local;
mod metrics;
mod page;
mod server;
mod stall;

pub use hub_local::router as hub_local_router;
pub use local::{Processes, Value, Values, router as local_router};
pub use metrics::{MetricsState, router as metrics_router};
pub use page::{OwnMetrics, Page};
pub use server::{Listener, serve};
