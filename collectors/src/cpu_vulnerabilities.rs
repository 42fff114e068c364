//! CPU vulnerabilities and mitigations.

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;

/// Settings.
pub type Config = Common;

/// Makes the collector.
pub fn build(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Err(CollectError::NoData("cpu_vulnerabilities is not read yet".into()))
}
