//! A live tracing session: what a command needs of the kernel, and nothing about how it is done.

use std::{path::PathBuf, time::Duration};

use p2p_trace_common::{Hook, record::MAX_FRAMES};
use p2p_trace_model::{
    accounting::{Status, Totals},
    stream::{Batch, Level},
};

/// How programs are to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// fentry where it works, else kprobe; for what is in a hurry or would be in the way, kprobe.
    #[default]
    Auto,
    /// fentry and fexit only.
    Fentry,
    /// kprobe and kretprobe only.
    Kprobe,
}

/// Of which hot events stacks are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StacksOf {
    /// What takes memory: allocations, scatter lists and mappings by user space.
    #[default]
    Taking,
    /// All.
    All,
}

/// Stacks of hot events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacks {
    /// Of which.
    pub of: StacksOf,
    /// Frames of each, the innermost ones: 1 to [`Self::MAX_DEPTH`].
    pub depth: u8,
}

impl Stacks {
    /// Frames of the largest stack.
    pub const MAX_DEPTH: u8 = MAX_FRAMES as u8;

    /// Whether stacks of the records of this hook are captured.
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

    /// What the kernel is asked for.
    pub(crate) fn bytes(self) -> u32 {
        u32::from(self.depth.clamp(1, Self::MAX_DEPTH)) * 8
    }
}

/// What a user asks a session for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Devices, as addresses or names such as `nvme0`; none: all.
    pub devices: Vec<String>,
    /// Hooks; none: all.
    pub hooks: Vec<Hook>,
    /// Capture the stacks of hot events, too; none: of rare ones only.
    pub stacks: Option<Stacks>,
    /// How to attach.
    pub attach: Attach,
    /// Bytes of the hot ring, all CPUs together; none: a default.
    pub ring_size: Option<u64>,
    /// BTF to use in place of the running kernel's own.
    pub kernel_btf: Option<PathBuf>,
    /// The kernel side also writes uses of removed memory into the kernel's own trace.
    pub kmsg: bool,
    /// What the kernel side is to say of itself ([`Batch::diagnostics`]); none: nothing, which costs nothing.
    pub diagnostics: Option<Level>,
}

/// The beginning of an event dump: header, names, and what is true now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// As in a file.
    pub bytes: Vec<u8>,
    /// Nothing is being torn down: it is kept until there is another one of which that is true.
    pub is_calm: bool,
}

/// Why a session cannot go on.
pub type SessionError = Box<dyn std::error::Error + Send + Sync>;

/// A session, from attached to detached. The order of the end is: [`Session::detach`], then
/// [`Session::finish`], then [`Session::totals`].
pub trait Session: Send {
    /// What is attached and how, now.
    fn status(&self) -> Status;

    /// The calling thread is the one that will read from now on.
    fn reading(&mut self) {}

    /// Waits until there is something to read, or that it is time to look, at most for `timeout`.
    fn wait(&mut self, timeout: Duration);

    /// Appends up to `budget` records to `batch`, with losses and the watermark. Reads the clock before the
    /// rings. Also does what is due in between, such as arming hooks: their changes are records of kind
    /// `attach`, and set [`Batch::changed`].
    ///
    /// # Errors
    ///
    /// When the session cannot go on.
    fn poll(&mut self, budget: usize, batch: &mut Batch) -> Result<(), SessionError>;

    /// Asks for the kernel's own state of every device: it is read by the next [`Session::poll`], and its
    /// records of kind `snapshot_end` tell when.
    fn snapshot(&mut self);

    /// Keeps an image where a memory dump of the kernel has it.
    fn crash_image(&mut self, _image: &Image) {}

    /// Detaches every program. Events after this are not traced.
    ///
    /// # Errors
    ///
    /// When a program stays attached.
    fn detach(&mut self) -> Result<(), SessionError>;

    /// After the detach: appends everything that is left, with bursts that no event has flushed; the
    /// watermark is `u64::MAX`.
    ///
    /// # Errors
    ///
    /// When the rings cannot be read.
    fn finish(&mut self, batch: &mut Batch) -> Result<(), SessionError>;

    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// When the counters cannot be read.
    fn totals(&mut self) -> Result<Totals, SessionError>;
}
