//! Whether anybody still reads what goes to stdout.

/// True when stdout is a pipe or socket whose other end is closed: the next write would fail, but there may
/// be no next event for hours.
#[cfg(feature = "trace")]
pub(in crate::commands) fn is_stdout_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdout = std::io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A poll that fails says nothing; the next write will.
    let ready = poll(&mut descriptors, Some(&now)).unwrap_or_default();
    ready > 0 && descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Without a kernel there is nothing to wait for.
#[cfg(not(feature = "trace"))]
pub(in crate::commands) const fn is_stdout_closed() -> bool {
    false
}
