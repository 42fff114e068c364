//! The two questions about the clock that no safe library answers: the state of the kernel's
//! clock discipline and the local time zone. The only unsafe code of this crate.
#![allow(unsafe_code)] // adjtimex(2) and localtime_r(3) are C functions without a safe wrapper.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

/// The state of the kernel's clock discipline, as adjtimex(2) tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockState {
    /// What the call returned: `TIME_OK`, ..., `TIME_ERROR`.
    pub state: i32,
    /// The structure it filled in.
    pub timex: libc::timex,
}

/// Asks for the state of the clock; changes nothing (`modes` is 0, which any user may).
pub(crate) fn clock_state() -> io::Result<ClockState> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is a valid, writable structure; all its fields are integers, so that zero
    // bytes are a valid value of it.
    let (state, timex) = unsafe {
        let state = libc::adjtimex(timex.as_mut_ptr());
        (state, timex.assume_init())
    };
    match state {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(ClockState { state, timex }),
    }
}

/// Offset from UTC in seconds and abbreviation of the local time zone at this instant, if the C
/// library knows. The name is written into `name`.
pub(crate) fn local_zone(seconds: i64, name: &mut Vec<u8>) -> Option<libc::c_long> {
    name.clear();
    let time = libc::time_t::try_from(seconds).ok()?;
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, which writes the whole structure when it does
    // not answer null. `tm_zone` then points to a text that the C library keeps for the process'
    // life and does not change while no other thread calls tzset with a changed TZ, which
    // nothing in this program does.
    unsafe {
        if libc::localtime_r(&time, parts.as_mut_ptr()).is_null() {
            return None;
        }
        let parts = parts.assume_init();
        if !parts.tm_zone.is_null() {
            name.extend_from_slice(CStr::from_ptr(parts.tm_zone).to_bytes());
        }
        Some(parts.tm_gmtoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_has_a_name_and_a_sane_offset() {
        let mut name = Vec::new();
        let offset = local_zone(1_700_000_000, &mut name).unwrap();
        assert!(!name.is_empty());
        assert!((-14 * 3600..=14 * 3600).contains(&offset));
    }
}
