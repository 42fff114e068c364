//! Temperatures, fans, voltages, power.

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;

/// Settings.
pub type Config = Common;

/// Makes the collector.
pub fn build(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Err(CollectError::NoData("hwmon is not read yet".into()))
}
