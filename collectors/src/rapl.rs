//! Energy used by package and memory.

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;

/// Settings.
pub type Config = Common;

/// Makes the collector.
pub fn build(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Err(CollectError::NoData("rapl is not read yet".into()))
}
