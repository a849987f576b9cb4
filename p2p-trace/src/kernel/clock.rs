//! The clock of the kernel side.

/// `CLOCK_BOOTTIME` in nanoseconds: what records are dated by.
#[cfg(target_os = "linux")]
#[must_use]
pub fn boottime_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing; the call does not fail for a clock that every kernel has.
    unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time);
    }
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Nothing is traced here: a clock that begins at any time will do.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn boottime_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}
