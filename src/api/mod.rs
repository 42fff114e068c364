//! HTTP: thin handlers over the agent's handle. Two doors lead here: the metrics page's listener,
//! which serves nothing but metrics and health, and the Unix socket of the agent's owner.

mod local;
mod metrics;
mod page;
mod server;
mod stall;

pub use local::{Processes, Value, Values, router as local_router};
pub use metrics::{MetricsState, router as metrics_router};
pub use page::{OwnMetrics, Page};
pub use server::{Listener, serve};
