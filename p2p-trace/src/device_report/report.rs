//! The report of `holders`: what a running tracer answers, and what `--json` prints.
//!
//! What is absent was not observed. Times are `CLOCK_BOOTTIME` in ns, beside RFC 3339 for people; sizes are bytes; `range_end` is inclusive.

use p2p_trace_model::{
    event::names::{Bdf, RecordId},
    names::{Hex, is_false},
    state::HolderKind,
    text::Text,
};
use p2p_trace_probe::kernel::tasks::{Liveness, UnbindStep};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

/// Version of the report's format. A change that is not an addition raises it.
pub(crate) const FORMAT: u32 = 1;

/// What is taken of which device's p2p memory, by whom, and what an unbind would wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "p2p-trace holders --json")]
pub struct Report {
    /// Version of the format.
    pub format: u32,
    /// Who looked.
    pub source: Source,
    /// When all of this was so, RFC 3339 in UTC.
    pub time: Text,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// Release of the kernel.
    pub kernel: Text,
    /// By address.
    pub devices: Vec<DeviceReport>,
    /// What could not be looked at, for all devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Text>,
}

/// Who looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A tracer that was running, and saw who took what since it was started.
    Live {
        /// Its process.
        pid: u32,
        /// Since when it traces, RFC 3339 in UTC.
        since: Text,
        /// The same, `CLOCK_BOOTTIME` in nanoseconds.
        since_ns: u64,
    },
    /// One look: what was taken before is known by its place and size only, not by whom.
    OneShot,
}

/// One device.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReport {
    /// Its address.
    pub device: Bdf,
    /// How its memory is provided.
    pub life_cycle: LifeCycle,
    /// Names of it in sysfs, such as `nvme0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Text>,
    /// The driver bound to it.
    pub driver: Option<Text>,
    /// Bytes of p2p memory in all its ranges.
    pub size: Option<u64>,
    /// Bytes allocated, by the kernel's own count, as of when its ranges say.
    pub allocated: Option<u64>,
    /// Other drivers may find it (`pci_p2pmem_find`).
    pub published: Option<bool>,
    /// Its ranges.
    pub ranges: Vec<RangeReport>,
    /// What was seen being taken and not given back, grouped by taker, caller and kind, the largest first.
    pub holders: Vec<Holder>,
    /// Memory found allocated, of which it was not seen who took it.
    pub preexisting: Option<Preexisting>,
    /// An unbind or removal that is under way.
    pub unbind: Option<UnbindReport>,
    /// Tasks and drivers that may have to do with it. None of them was observed to hold anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Why the above may not be complete or not true any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncertain: Vec<Text>,
    /// Whether an unbind would go through.
    pub can_unbind: CanUnbind,
}

/// How p2p memory is provided. More values can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LifeCycle {
    /// As struct pages of a pool: `pci_p2pdma_add_resource()`.
    Pages,
    /// Without pages, exported as dma-bufs: `pcim_p2pdma_provider()`. Reserved: this version never writes it.
    Provider,
}

/// Where a range is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RangeState {
    /// In use.
    Live,
    /// Killed: its teardown waits for the last reference.
    Killed,
    /// The last reference was dropped.
    Drained,
    /// Its pages are gone.
    Removed,
    /// The whole pool is gone.
    Released,
}

/// One range.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RangeReport {
    /// Kernel address of its `struct dev_pagemap`.
    pub pgmap: Hex,
    /// First physical address.
    pub range_start: Option<Hex>,
    /// Last physical address.
    pub range_end: Option<Hex>,
    /// Bytes.
    pub size: Option<u64>,
    /// BAR number.
    pub bar: Option<u16>,
    /// Where it is in its life.
    pub state: RangeState,
    /// Bytes allocated, by the kernel's own count.
    pub allocated: Option<u64>,
    /// When the kernel's count was read.
    pub allocated_ns: Option<u64>,
    /// The pool hands out all that is handed out of it. False: its driver has replaced the operations of its pages, and hands them out
    /// itself, so that `allocated` says nothing. Absent: not known.
    pub pooled: Option<bool>,
    /// Of a range that its driver hands out itself: the kernel's count of references, those for the range itself among them while it is
    /// live.
    pub references: Option<References>,
    /// The kernel's count of references, against what is known.
    pub residual: Option<Residual>,
}

/// References to a range, by the kernel's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct References {
    /// How many.
    pub count: i64,
    /// A sum over per-CPU counters that were moving, not the kernel's own total.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimate: bool,
}

impl RangeReport {
    /// Its driver hands out its pages itself.
    pub(crate) const fn is_bypassed(&self) -> bool {
        matches!(self.pooled, Some(false))
    }

    /// There is memory to be handed out.
    pub(crate) const fn is_there(&self) -> bool {
        matches!(self.state, RangeState::Live | RangeState::Killed)
    }
}

/// References that a killed range still has. Only of such a range is the count a number of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Residual {
    /// The kernel's own count.
    pub count: u64,
    /// Those of allocations and mapped pages that were seen being taken.
    pub known: u64,
    /// Those of unknown takers, at least: one per piece of memory whose taker was not seen, and those that are known but
    /// not to which range they are.
    pub unknown_min: u64,
    /// The same, at most: one per page of such memory.
    pub unknown_max: u64,
    /// Those that nothing explains, at least.
    pub unexplained_min: u64,
    /// The same, at most.
    pub unexplained_max: u64,
}

/// A task. Numbers are those of the initial pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TaskLine {
    /// Thread.
    pub pid: u32,
    /// Process.
    pub tgid: u32,
    /// Name; bytes that cannot be printed are `\xNN`.
    pub comm: Text,
}

/// Memory of one kind that one task took at one place. Who took it was observed; who uses or pins it now was not.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// What was taken.
    pub kind: HolderKind,
    /// How many: allocations, lists, mappings.
    pub count: u64,
    /// References to the range that they are: one each, but one per page of a mapping.
    pub references: u64,
    /// Bytes that are not given back.
    pub bytes: u64,
    /// The task that took it.
    pub allocated_by: Option<TaskLine>,
    /// Whether that process still exists. Memory may well outlive the process that took it.
    pub process: Liveness,
    /// By when it had exited, where that was seen.
    pub exited_ns: Option<u64>,
    /// The cgroup that it was in when it took it; absent if that cgroup is gone.
    pub cgroup: Option<Text>,
    /// The id of that cgroup.
    pub cgroup_id: Option<u64>,
    /// The function that called for it, such as `nvme_alloc_queue+0x177 [nvme]`.
    pub caller: Option<Text>,
    /// The same as an address.
    pub caller_addr: Option<Hex>,
    /// When the oldest was taken, RFC 3339 in UTC.
    pub oldest: Text,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub oldest_ns: u64,
    /// When the newest was taken.
    pub newest_ns: u64,
    /// Age of the oldest.
    pub age_ns: u64,
    /// The record of the oldest.
    pub record: RecordId,
    /// The module of the bound driver called for it: its remove callback is expected to give it back. Absent where that
    /// cannot be told: no name for the caller, or both built into the kernel.
    pub by_driver: Option<bool>,
    /// Records were lost since: the memory is out, but it may have been given back and taken by somebody else meanwhile.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsure: bool,
}

/// Memory found allocated, of which it was not seen who took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preexisting {
    /// All of it.
    pub bytes: u64,
    /// Bytes of it that can be those of mappings that were seen: where these lie is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mapped_max: u64,
    /// Contiguous pieces. One may be several allocations side by side.
    pub runs: Vec<RunReport>,
    /// Pieces that were left out here because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs_omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One contiguous piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// Direct-map address.
    pub addr: Hex,
    /// Bytes.
    pub size: u64,
}

/// An unbind or removal that is under way.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnbindReport {
    /// A killed range still has references, or has waited for a second, or the task that unbinds has.
    pub blocked: bool,
    /// When its first step was seen, RFC 3339 in UTC.
    pub since: Option<Text>,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: Option<u64>,
    /// For how long the task that holds the device's lock had not been given a CPU, time in suspend not counted: it
    /// has been waiting for that long at least.
    pub waiting_ns: Option<u64>,
    /// The step that it is in.
    pub step: Option<UnbindStep>,
    /// How that is known.
    pub step_from: Option<StepFrom>,
    /// The task that unbinds.
    pub task: Option<TaskLine>,
    /// Its kernel stack, innermost frame first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Text>,
    /// Why there is none.
    pub stack_error: Option<Text>,
    /// It began before the tracing, or records of it were lost: it is at least as old as `since`, and other steps may
    /// have come before those seen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steps_may_be_missing: bool,
    /// The steps that were seen, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepLine>,
}

/// How a step is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepFrom {
    /// By the task's kernel stack.
    Stack,
    /// By the last event of the teardown.
    Events,
    /// By what a pull read found of the ranges.
    State,
}

/// A step that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepLine {
    /// Kind of the event, such as `kill`.
    pub kind: Text,
    /// When, RFC 3339 in UTC.
    pub time: Text,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The record.
    pub record: RecordId,
}

/// Something that may have to do with the memory of a device. It was not observed to hold any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Why it is one.
    #[serde(flatten)]
    pub why: Why,
    /// The same as a sentence.
    pub reason: Text,
}

/// Why something is a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "candidate", rename_all = "snake_case")]
pub enum Why {
    /// A process has the device's memory mapped.
    Mapping {
        /// The process.
        task: TaskLine,
        /// Bytes of address space.
        bytes: u64,
        /// Some of it is of before the device was last unbound or removed.
        deleted: bool,
    },
    /// A thread is in an uninterruptible wait with DMA in its kernel stack; for which device cannot be told.
    Waiting {
        /// The thread.
        task: TaskLine,
        /// The frame.
        frame: Text,
    },
    /// A thread is unbinding some device; which one cannot be told.
    Unbinding {
        /// The thread.
        task: TaskLine,
        /// The step that it is in.
        step: UnbindStep,
    },
    /// The bound driver, which may have taken memory itself.
    Driver {
        /// Its name.
        driver: Text,
    },
}

/// Whether an unbind would go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing would block it.
    Yes,
    /// Too little is known.
    Unknown,
    /// Something would block it, or blocks it already.
    No,
}

/// Whether an unbind would go through, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CanUnbind {
    /// The answer.
    pub answer: Answer,
    /// Why, in one sentence.
    pub reason: Text,
    /// What it would wait for, or may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Text>,
}

impl Report {
    /// The answer for all devices: that of the worst.
    pub(crate) fn answer(&self) -> Answer {
        let answers = self.devices.iter().map(|device| device.can_unbind.answer);
        answers.max().unwrap_or(Answer::Yes)
    }
}

impl std::fmt::Display for TaskLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}
