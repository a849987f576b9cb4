//! Counts of a hook's program runs that the kernel skipped.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use crate::live::sys;

/// The miss counters of one attached hook. Reading them does not need the hook's links, so it works while other hooks come or go.
#[derive(Debug)]
pub(crate) struct Misses(Vec<Counter>);

/// The counter of one program's skipped runs.
#[derive(Debug)]
enum Counter {
    /// The program of a fentry or fexit hook, which is skipped while it is running on the same CPU.
    Tracing(OwnedFd),
    /// The program of a kprobe, and its link. If the hit interrupts another kprobe's handler, the kernel skips the hit (`nmissed` of
    /// `struct kprobe`, counted by the link). If it interrupts another program, or a system call on a map, the kernel skips only the
    /// program (`trace_call_bpf`, counted by the program).
    Kprobe { program: OwnedFd, link_id: u32 },
    /// The program of a kprobe on a kernel that does not count.
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

    /// Runs that the kernel skipped, summed over the hook's programs; `None` if it does not count them.
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
