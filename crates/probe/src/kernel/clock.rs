//! The clocks of this machine, including the one that the kernel side uses.

use std::time::{SystemTime, UNIX_EPOCH};

use p2p_trace_model::units::Clock;

/// `CLOCK_BOOTTIME` in nanoseconds, the clock of records.
#[cfg(target_os = "linux")]
#[must_use]
pub fn boottime_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Total time that the machine has been suspended since boot, in nanoseconds: `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`. `None` if
/// the two clocks could not be read close enough to each other.
#[cfg(target_os = "linux")]
#[must_use]
pub fn asleep_ns() -> Option<u64> {
    /// Maximum time between the first and the last reading.
    const CLOSE_NS: u64 = 1_000_000;
    (0..4).find_map(|_| {
        let before_ns = boottime_ns();
        let monotonic_ns = read(libc::CLOCK_MONOTONIC);
        let is_close = boottime_ns().saturating_sub(before_ns) < CLOSE_NS;
        is_close.then(|| before_ns.saturating_sub(monotonic_ns))
    })
}

/// Tracing is not supported here, so no value is needed.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn asleep_ns() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; the call does not fail for a clock that every kernel has.
    unsafe {
        libc::clock_gettime(clock, &raw mut time);
    }
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Tracing is not supported here, so a clock with any origin will do.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn boottime_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// The current time on `CLOCK_BOOTTIME` and as the time of day.
#[must_use]
pub fn now() -> Clock {
    let before = boottime_ns();
    let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let after = boottime_ns();
    Clock {
        // The time of day was read midway between the two readings.
        boottime_ns: before + after.saturating_sub(before) / 2,
        realtime_ns: u64::try_from(realtime.as_nanos()).unwrap_or(u64::MAX),
        utc_offset_s: utc_offset_s(realtime.as_secs()),
    }
}

#[cfg(unix)]
fn utc_offset_s(seconds: u64) -> i32 {
    let time = seconds as libc::time_t;
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, and zeroes are a valid `tm`.
    let local = unsafe {
        libc::localtime_r(&raw const time, local.as_mut_ptr());
        local.assume_init()
    };
    local.tm_gmtoff as i32
}

#[cfg(not(unix))]
const fn utc_offset_s(_seconds: u64) -> i32 {
    0
}
