//! Typed events: decoded records in which every field that was not observed is `None`.

mod address;
mod companions;
pub mod decode;
#[cfg(test)]
mod documented;
pub mod escape;
pub mod layout;
mod loss;
pub mod names;
mod skips;
mod symbolize;
pub mod user;
pub mod words;

use std::fmt;

use p2p_trace_common::{Hook, Kind, Ring, record::COMM_LEN, state};

pub use address::{AddressError, DeviceAddress};
pub use companions::Companions;
pub use loss::{Loss, Reason};
pub use skips::{Affected, SkipRow};
pub use symbolize::{MAX_NAME, MAX_NAMES, Names, NoSymbols, Symbolize, is_return_trampoline};

/// Id of a record, unique across all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Random number of the run.
    pub run: u64,
    /// CPU that wrote the record, or [`user::CPU`].
    pub cpu: u32,
    /// The sequence number ([`Ring::sequence`]).
    pub seq: u64,
}

impl Id {
    /// The ring that held the record.
    #[must_use]
    pub const fn ring(self) -> Ring {
        Ring::of_sequence(self.seq).0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}:{}", self.run, self.cpu, self.seq)
    }
}

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Thread id in the initial pid namespace.
    pub pid: u32,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Name of the thread, padded with zero bytes.
    pub comm: [u8; COMM_LEN],
}

impl Task {
    /// The name as printable text.
    #[must_use]
    pub fn name(&self) -> String {
        let length = self.comm.iter().position(|&byte| byte == 0).unwrap_or(COMM_LEN);
        escape::escape(&self.comm[..length])
    }
}

/// A range of physical addresses, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
}

impl Range {
    /// Size in bytes, or 0 if `end` is before `start`.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self.end.checked_sub(self.start) {
            Some(size) => size.saturating_add(1),
            None => 0,
        }
    }
}

/// The times of the first and last event that one record stands for, `CLOCK_BOOTTIME` in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Time of the first.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
}

/// State of a range, found by a snapshot or as the range was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Index of the chunk in the order in which the pool tries them: the newest first. Known only from a
    /// snapshot.
    pub chunk: u8,
    /// The count is the kernel's own total ([`state::ATOMIC`]).
    pub atomic: bool,
    /// The reference was killed ([`state::DEAD`]).
    pub dead: bool,
    /// The reference was released (`percpu_ref_exit`): the range is being removed or is gone
    /// ([`state::EXITED`]).
    pub exited: bool,
    /// The pool still has the chunk, but its `dev_pagemap` was freed ([`state::FREED`]).
    pub freed: bool,
}

impl State {
    /// Decodes the bits, as in `small` of the record.
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self {
            chunk: (bits >> state::CHUNK_SHIFT) as u8,
            atomic: bits & state::ATOMIC != 0,
            dead: bits & state::DEAD != 0,
            exited: bits & state::EXITED != 0,
            freed: bits & state::FREED != 0,
        }
    }
}

/// The reference count of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refs {
    /// The count. An estimate can be off in either direction, even below zero.
    pub count: i64,
    /// The count is not the kernel's own total: it is a sum over per-CPU counters that were changing, or what
    /// `percpu_ref_exit` left.
    pub estimate: bool,
}

/// How a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// fentry or fexit.
    Fentry,
    /// kprobe or kretprobe.
    Kprobe,
}

impl Method {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }
}

/// One event. A field that is `None` was not observed; times are `CLOCK_BOOTTIME` in nanoseconds, and sizes
/// are bytes. `docs/events.md` gives the meaning of each field by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id of the record.
    pub id: Id,
    /// The kind of event.
    pub kind: Kind,
    /// The hook that observed it.
    pub hook: Hook,
    /// How the hook was attached.
    pub method: Method,
    /// The hook is attached only while a teardown is pending.
    pub armed: bool,
    /// Time of the event.
    pub time_ns: u64,
    /// The task that caused it.
    pub task: Option<Task>,
    /// The device that provides the memory.
    pub device: Option<DeviceAddress>,
    /// Kernel address of the `struct dev_pagemap`.
    pub pgmap: Option<u64>,
    /// BAR number.
    pub bar: Option<u16>,
    /// Offset in the BAR.
    pub offset: Option<u64>,
    /// Kernel virtual address of the memory.
    pub addr: Option<u64>,
    /// Physical range.
    pub range: Option<Range>,
    /// Requested, freed, or mapped size.
    pub size: Option<u64>,
    /// The return value of the function.
    pub ret: Option<i32>,
    /// The call failed.
    pub failed: bool,
    /// The reference count of the range.
    pub refs: Option<Refs>,
    /// The low half of the address of its `struct percpu_ref` (kill).
    pub reference: Option<u32>,
    /// Bytes that the pool counts as allocated.
    pub allocated: Option<u64>,
    /// Pages, entries or ranges.
    pub count: Option<u32>,
    /// A boolean: the argument (publish), the device has outstanding memory (kinds that open a teardown), the
    /// range is among those that the armed hooks compare with (remove), the hook was attached rather than
    /// detached (attach), the memory is published (`device_state`), everything was read (`snapshot_end`), or
    /// a part was freed before (alloc, only in checkpoints).
    pub flag: Option<bool>,
    /// Address of the scatter list.
    pub sgl: Option<u64>,
    /// User virtual address.
    pub user_addr: Option<u64>,
    /// Address of the first or only `struct page`.
    pub page: Option<u64>,
    /// Physical address.
    pub physical: Option<u64>,
    /// The device that maps the memory.
    pub client: Option<DeviceAddress>,
    /// Return address of the traced function.
    pub caller: Option<u64>,
    /// Cgroup id of the task.
    pub cgroup: Option<u64>,
    /// State of the range (`range_state`, `remove`).
    pub state: Option<State>,
    /// True if the pool allocates all pages of the range; false if its driver has replaced the page
    /// operations and allocates them itself. For kinds that open a teardown, false if this holds for any
    /// range of the device.
    pub pooled: Option<bool>,
    /// How long the task that holds the device's lock has been off the CPU, in nanoseconds, excluding
    /// suspend.
    pub waiting_ns: Option<u64>,
    /// Times of the first and last page of a burst.
    pub span: Option<Span>,
    /// CPU on which a burst was counted.
    pub burst_cpu: Option<u16>,
    /// Sequence number of the record that this stack belongs to, where that record was lost.
    pub parent: Option<u64>,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}
