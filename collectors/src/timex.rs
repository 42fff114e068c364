//! How well the clock is kept: offset, error and state of the kernel's clock discipline, from
//! adjtimex(2).

use std::path::Path;

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::kernel_clock::{ClockState, clock_state};

/// Settings.
pub type Config = Common;

const NANOSECONDS: f64 = 1e9;
const MICROSECONDS: f64 = 1e6;

/// Parts per million with 16 binary digits behind the point: the unit of frequencies
/// (adjtimex(2), NOTES).
const PPM_16_BIT_FRACTION: f64 = 1e6 * 65_536.0;

struct Timex {
    ids: [SeriesId; 17],
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let gauge = |name, help| env.tick.gauge(name, help, &[]);
    let counter = |name, help| env.tick.counter(name, help, &[]);
    let ids = [
        gauge("node_timex_sync_status", "Is clock synchronized to a reliable server (1 = yes, 0 = no)."),
        gauge("node_timex_offset_seconds", "Time offset in between local system and reference clock."),
        gauge("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment."),
        gauge("node_timex_maxerror_seconds", "Maximum error in seconds."),
        gauge("node_timex_estimated_error_seconds", "Estimated error in seconds."),
        gauge("node_timex_status", "Value of the status array bits."),
        gauge("node_timex_loop_time_constant", "Phase-locked loop time constant."),
        gauge("node_timex_tick_seconds", "Seconds between clock ticks."),
        gauge("node_timex_pps_frequency_hertz", "Pulse per second frequency."),
        gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter."),
        gauge("node_timex_pps_shift_seconds", "Pulse per second interval duration."),
        gauge(
            "node_timex_pps_stability_hertz",
            "Pulse per second stability, average of recent frequency changes.",
        ),
        counter("node_timex_pps_jitter_total", "Pulse per second count of jitter limit exceeded events."),
        counter("node_timex_pps_calibration_total", "Pulse per second count of calibration intervals."),
        counter("node_timex_pps_error_total", "Pulse per second count of calibration errors."),
        counter(
            "node_timex_pps_stability_exceeded_total",
            "Pulse per second count of stability limit exceeded events.",
        ),
        gauge("node_timex_tai_offset_seconds", "International Atomic Time (TAI) offset."),
    ];
    Ok(Box::new(Timex { ids }))
}

impl Collector for Timex {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let state = clock_state().map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                CollectError::NoData("adjtimex is forbidden here, as in some containers".into())
            }
            _ => CollectError::read(Path::new("adjtimex"), error),
        })?;
        for (id, value) in self.ids.iter().zip(values(&state)) {
            tick.set(*id, value);
        }
        Ok(())
    }
}

/// The numbers in the order of the series.
fn values(clock: &ClockState) -> [f64; 17] {
    let timex = &clock.timex;
    let unit = if timex.status & libc::STA_NANO == 0 { MICROSECONDS } else { NANOSECONDS };
    [
        f64::from(u8::from(clock.state != libc::TIME_ERROR)),
        timex.offset as f64 / unit,
        1.0 + timex.freq as f64 / PPM_16_BIT_FRACTION,
        timex.maxerror as f64 / MICROSECONDS,
        timex.esterror as f64 / MICROSECONDS,
        f64::from(timex.status),
        timex.constant as f64,
        timex.tick as f64 / MICROSECONDS,
        timex.ppsfreq as f64 / PPM_16_BIT_FRACTION,
        timex.jitter as f64 / unit,
        f64::from(timex.shift),
        timex.stabil as f64 / PPM_16_BIT_FRACTION,
        timex.jitcnt as f64,
        timex.calcnt as f64,
        timex.errcnt as f64,
        timex.stbcnt as f64,
        f64::from(timex.tai),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_nano_bit() {
        let Ok(mut clock) = clock_state() else { return };
        clock.state = libc::TIME_ERROR;
        clock.timex.offset = -2_000;
        clock.timex.freq = -65_536;
        clock.timex.status = libc::STA_NANO;
        assert_eq!(values(&clock)[..3], [0.0, -2e-6, 1.0 - 1e-6]);
        clock.state = libc::TIME_OK;
        clock.timex.status = 0;
        assert_eq!(values(&clock)[..2], [1.0, -2e-3]);
    }
}
