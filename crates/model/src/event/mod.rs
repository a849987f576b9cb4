//! What happened, typed: records decoded, with every field that was not observed absent.

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

/// Name of a record, unique over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Random number of the run.
    pub run: u64,
    /// CPU that wrote it, or [`user::CPU`].
    pub cpu: u32,
    /// [`Ring::sequence`].
    pub seq: u64,
}

impl Id {
    /// The ring that the record was in.
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

/// Who did it.
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

/// Physical addresses, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
}

impl Range {
    /// Bytes in the range; 0 where `end` lies before `start`.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self.end.checked_sub(self.start) {
            Some(size) => size.saturating_add(1),
            None => 0,
        }
    }
}

/// First and last of what one record stands for, `CLOCK_BOOTTIME` in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Time of the first.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
}

/// What was found of a range, by a pull read or as it was removed, beside its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Which chunk of the pool it is, in the order in which the pool tries them: the newest first. Known of a pull read only.
    pub chunk: u8,
    /// The count is the kernel's own total ([`state::ATOMIC`]).
    pub atomic: bool,
    /// The reference was killed ([`state::DEAD`]).
    pub dead: bool,
    /// The reference was given up: the range is being removed or is gone ([`state::EXITED`]).
    pub exited: bool,
    /// The pool still has the chunk, but its `dev_pagemap` was freed ([`state::FREED`]).
    pub freed: bool,
}

impl State {
    /// As `small` of the record has it.
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

/// References to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refs {
    /// How many. An estimate can be off in either direction, and even below zero.
    pub count: i64,
    /// A sum over per-CPU counters that were moving, or what `percpu_ref_exit` left, not the kernel's own total.
    pub estimate: bool,
}

/// How a program is attached.
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

/// One thing that happened. What is `None` was not observed; times are `CLOCK_BOOTTIME` in nanoseconds,
/// sizes are bytes, and the meaning of a field for each kind stands in `docs/events.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub id: Id,
    /// What happened.
    pub kind: Kind,
    /// Where it was seen.
    pub hook: Hook,
    /// How that hook was attached.
    pub method: Method,
    /// The hook is attached only while a teardown is pending.
    pub armed: bool,
    /// When.
    pub time_ns: u64,
    /// The task that did it.
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
    /// Size of what was asked for, given back or mapped.
    pub size: Option<u64>,
    /// What the function returned.
    pub ret: Option<i32>,
    /// The function gave nothing back.
    pub failed: bool,
    /// References to the range.
    pub refs: Option<Refs>,
    /// The low half of the address of its `struct percpu_ref` (kill).
    pub reference: Option<u32>,
    /// Bytes that the pool counts as allocated.
    pub allocated: Option<u64>,
    /// Pages, entries or ranges.
    pub count: Option<u32>,
    /// The boolean argument (publish), that memory is out (what opens a teardown), that the range is among those that the armed
    /// hooks compare with (remove), that the hook was attached, not detached (attach), that the memory is
    /// published (`device_state`), that everything was read (pulled), that a part was given back before (alloc, in
    /// checkpoints only).
    pub flag: Option<bool>,
    /// Address of the scatter list.
    pub sgl: Option<u64>,
    /// User virtual address.
    pub user_addr: Option<u64>,
    /// Address of the (first) `struct page`.
    pub page: Option<u64>,
    /// Physical address.
    pub physical: Option<u64>,
    /// The device that maps the memory.
    pub client: Option<DeviceAddress>,
    /// Return address of the traced function.
    pub caller: Option<u64>,
    /// Cgroup id of the task.
    pub cgroup: Option<u64>,
    /// In what state the range is (`range_state`, `remove`).
    pub state: Option<State>,
    /// The pool hands out all that is handed out of the range; false: its driver has replaced the pages' operations, and hands them out
    /// itself. Of what opens a teardown: of some range of the device.
    pub pooled: Option<bool>,
    /// How long the task that holds the device's lock has been off the CPU, in nanoseconds without suspend.
    pub waiting_ns: Option<u64>,
    /// First and last of a burst.
    pub span: Option<Span>,
    /// CPU on which a burst was counted.
    pub burst_cpu: Option<u16>,
    /// Sequence number of the record that this stack belonged to, where that record was lost.
    pub parent: Option<u64>,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}
