//! Runs of a hook's programs that the kernel skipped.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use crate::live::sys;

/// The counters of one attached hook. They are read without what the hook is attached by, so also while other hooks come or go.
#[derive(Debug)]
pub(crate) struct Misses(Vec<Counter>);

/// What counts the skipped runs of one program.
#[derive(Debug)]
enum Counter {
    /// The program of a fentry or fexit hook: skipped where it is running on that CPU already.
    Tracing(OwnedFd),
    /// That of a kprobe, and its link. The kernel skips the hit where another kprobe's handler is interrupted (`nmissed` of `struct kprobe`,
    /// told by the link), and only the program where another one, or a system call on a map, is (`trace_call_bpf`, told by the program).
    Kprobe { program: OwnedFd, link_id: u32 },
    /// That of a kprobe, on a kernel that does not count.
    Uncounted,
}

impl Misses {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add_tracing(&mut self, program: OwnedFd) {
        self.0.push(Counter::Tracing(program));
    }

    pub(super) fn add_kprobe(&mut self, program: OwnedFd, link_id: u32) {
        self.0.push(Counter::Kprobe { program, link_id });
    }

    pub(super) fn add_uncounted(&mut self) {
        self.0.push(Counter::Uncounted);
    }

    /// Runs that the kernel skipped, over all of the hook's programs; `None` where it does not say.
    pub(crate) fn read(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |sum, counter| Some(sum.saturating_add(counter.read().ok()??)))
    }
}

impl Counter {
    fn read(&self) -> io::Result<Option<u64>> {
        match self {
            Self::Tracing(program) => sys::recursion_misses(program.as_fd()),
            Self::Kprobe { program, link_id } => {
                let of_program = sys::recursion_misses(program.as_fd())?;
                let of_link = sys::kprobe_misses(*link_id)?;
                Ok(of_program.map(|runs| runs.saturating_add(of_link)))
            }
            Self::Uncounted => Ok(None),
        }
    }
}
