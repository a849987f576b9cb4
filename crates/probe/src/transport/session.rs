//! The interface of a live tracing session, as commands need it, independent of its implementation.

use std::{path::PathBuf, time::Duration};

use p2p_trace_common::{Hook, record::MAX_FRAMES};
use p2p_trace_model::{
    accounting::{Status, Totals},
    stream::{Batch, Level},
};

/// How to attach programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// fentry where it works, otherwise kprobe; kprobe first for hooks that must be attached fast, or that would block live patches.
    #[default]
    Auto,
    /// fentry and fexit only.
    Fentry,
    /// kprobe and kretprobe only.
    Kprobe,
}

/// The hot events whose stacks are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StacksOf {
    /// Events that allocate memory: allocations, scatter lists and mappings by user space.
    #[default]
    Taking,
    /// All hot events.
    All,
}

/// Stacks of hot events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacks {
    /// The events.
    pub of: StacksOf,
    /// Number of frames per stack, innermost first: 1 to [`Self::MAX_DEPTH`].
    pub depth: u8,
}

impl Stacks {
    /// Maximum number of frames in a stack.
    pub const MAX_DEPTH: u8 = MAX_FRAMES as u8;

    /// Whether stacks of this hook's records are captured.
    pub(crate) const fn are_of(self, hook: Hook) -> bool {
        let other = matches!(self.of, StacksOf::All)
            && matches!(
                hook,
                Hook::Free
                    | Hook::SglFree
                    | Hook::MapSg
                    | Hook::UnmapSg
                    | Hook::MapSegment
                    | Hook::MapState
                    | Hook::VirtToBus
            );
        hook.takes_memory() || other
    }

    /// The size of the stack in bytes, as requested from the kernel.
    pub(crate) fn bytes(self) -> u32 {
        u32::from(self.depth.clamp(1, Self::MAX_DEPTH)) * 8
    }
}

/// A user's request for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Devices, as addresses or as names such as `nvme0`; empty for all.
    pub devices: Vec<String>,
    /// Hooks; empty for all.
    pub hooks: Vec<Hook>,
    /// Also capture stacks of hot events; `None` for rare events only.
    pub stacks: Option<Stacks>,
    /// How to attach.
    pub attach: Attach,
    /// Total size of the hot rings of all CPUs in bytes; `None` for the default.
    pub ring_size: Option<u64>,
    /// BTF to use instead of the running kernel's own.
    pub kernel_btf: Option<PathBuf>,
    /// The kernel side also writes uses of removed memory to the kernel's own trace buffer.
    pub kmsg: bool,
    /// Level of the kernel side's log ([`Batch::diagnostics`]); `None` disables it, so that it costs nothing.
    pub diagnostics: Option<Level>,
}

/// The beginning of an event dump: header, names, and the current state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The bytes, as in a file.
    pub bytes: Vec<u8>,
    /// No teardown is under way: the image is kept until the next calm one.
    pub is_calm: bool,
}

/// Why a session cannot continue.
pub type SessionError = Box<dyn std::error::Error + Send + Sync>;

/// A session, from attach to detach. At the end, call [`Session::detach`], then [`Session::finish`], then [`Session::totals`].
pub trait Session: Send {
    /// The current status of hooks and devices.
    fn status(&self) -> Status;

    /// Announces that the calling thread will read from now on.
    fn reading(&mut self) {}

    /// Waits until there are records to read or other work is due, at most for `timeout`.
    fn wait(&mut self, timeout: Duration);

    /// Appends up to `budget` records to `batch`, with losses and the watermark. Reads the clock before the rings. Also does other work
    /// that is due, such as arming hooks: such changes are records of kind `attach`, and set [`Batch::changed`].
    ///
    /// # Errors
    ///
    /// If the session cannot continue.
    fn poll(&mut self, budget: usize, batch: &mut Batch) -> Result<(), SessionError>;

    /// Requests a snapshot of every device: the next [`Session::poll`] takes it, and records of kind `snapshot_end` report its time.
    fn snapshot(&mut self);

    /// Stores an image so that a memory dump of the kernel contains it.
    fn crash_image(&mut self, _image: &Image) {}

    /// Detaches all programs. Later events are not traced.
    ///
    /// # Errors
    ///
    /// If a program stays attached.
    fn detach(&mut self) -> Result<(), SessionError>;

    /// Appends all remaining records after the detach, including bursts that no event has flushed; the watermark is `u64::MAX`.
    ///
    /// # Errors
    ///
    /// If the rings cannot be read.
    fn finish(&mut self, batch: &mut Batch) -> Result<(), SessionError>;

    /// The kernel's counts.
    ///
    /// # Errors
    ///
    /// If the counters cannot be read.
    fn totals(&mut self) -> Result<Totals, SessionError>;
}
