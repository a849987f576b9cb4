//! Whether stdout still has a reader.

/// Returns true when stdout is a pipe or socket whose other end is closed. The next write would fail, but the next event may
/// be hours away.
#[cfg(feature = "trace")]
pub(in crate::commands) fn is_stdout_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdout = std::io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If the poll fails, the next write shows the error.
    let ready = poll(&mut descriptors, Some(&now)).unwrap_or_default();
    ready > 0 && descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Without a kernel to trace there is no waiting.
#[cfg(not(feature = "trace"))]
pub(in crate::commands) const fn is_stdout_closed() -> bool {
    false
}
