//! The report of `holders`: the answer of a running tracer, and the output of `--json`.
//!
//! An absent field was not observed. Times are `CLOCK_BOOTTIME` in nanoseconds, and RFC 3339 for people; sizes are
//! bytes; `range_end` is inclusive.

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

pub use super::candidate::{Candidate, Why};

/// Version of the report's format. A change that is not an addition raises it.
pub(crate) const FORMAT: u32 = 1;

/// The allocated p2p memory of each device, its holders, and what an unbind would wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "p2p-trace holders --json")]
pub struct Report {
    /// Version of the format.
    pub format: u32,
    /// The observer.
    pub source: Source,
    /// The time of the report, RFC 3339 in UTC.
    pub time: Text,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// Release of the kernel.
    pub kernel: Text,
    /// Sorted by address.
    pub devices: Vec<DeviceReport>,
    /// Sources that could not be read, for all devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Text>,
}

/// The observer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A running tracer, which has observed allocations since its start.
    Live {
        /// Its process id.
        pid: u32,
        /// Start of its tracing, RFC 3339 in UTC.
        since: Text,
        /// The same, `CLOCK_BOOTTIME` in nanoseconds.
        since_ns: u64,
    },
    /// A single snapshot: of earlier allocations it knows the place and the size, but not the holder.
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
    /// Its names in sysfs, such as `nvme0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Text>,
    /// The driver bound to it.
    pub driver: Option<Text>,
    /// Bytes of p2p memory in all its ranges.
    pub size: Option<u64>,
    /// Bytes allocated, by the kernel's own count, at the time that its ranges give.
    pub allocated: Option<u64>,
    /// Other drivers can find it (`pci_p2pmem_find`).
    pub published: Option<bool>,
    /// Its ranges.
    pub ranges: Vec<RangeReport>,
    /// Memory that was observed to be allocated and not freed, grouped by holder, caller and kind, the largest first.
    pub holders: Vec<Holder>,
    /// Memory found allocated whose holder is unknown.
    pub preexisting: Option<Preexisting>,
    /// The ongoing unbind or removal.
    pub unbind: Option<UnbindReport>,
    /// Tasks and drivers that may be involved. None of them was observed to hold memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Reasons why the above may be incomplete or outdated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncertain: Vec<Text>,
    /// Whether an unbind would complete.
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

/// State of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RangeState {
    /// In use.
    Live,
    /// Killed: its teardown waits for the last reference.
    Killed,
    /// The last reference was dropped.
    Drained,
    /// Its pages are removed.
    Removed,
    /// The pool is destroyed.
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
    /// Its state.
    pub state: RangeState,
    /// Bytes allocated, by the kernel's own count.
    pub allocated: Option<u64>,
    /// When the kernel's count was read.
    pub allocated_ns: Option<u64>,
    /// The pool serves all allocations of the range. False: its driver has replaced the operations of its pages and
    /// allocates them itself, so that `allocated` is meaningless. Absent: unknown.
    pub pooled: Option<bool>,
    /// For a range that its driver allocates itself: the kernel's count of references, including those for the range
    /// itself while it is live.
    pub references: Option<References>,
    /// The kernel's count of references, compared with the known ones.
    pub residual: Option<Residual>,
}

/// References to a range, by the kernel's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct References {
    /// The count.
    pub count: i64,
    /// A sum over per-CPU counters while they changed, not the kernel's own total.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimate: bool,
}

impl RangeReport {
    /// Its driver allocates its pages itself.
    pub(crate) const fn is_bypassed(&self) -> bool {
        matches!(self.pooled, Some(false))
    }

    /// Memory can be allocated from it, or is.
    pub(crate) const fn is_there(&self) -> bool {
        matches!(self.state, RangeState::Live | RangeState::Killed)
    }
}

/// References that a killed range still has. Only for a killed range is the count a number of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Residual {
    /// The kernel's own count.
    pub count: u64,
    /// References of allocations and mapped pages that were observed.
    pub known: u64,
    /// Minimum of references with unknown holders: one per piece of memory whose holder is unknown, and those whose
    /// range is unknown.
    pub unknown_min: u64,
    /// Maximum of references with unknown holders: one per page of such memory.
    pub unknown_max: u64,
    /// Minimum of unexplained references.
    pub unexplained_min: u64,
    /// Maximum of unexplained references.
    pub unexplained_max: u64,
}

/// A task. Its ids are those of the initial pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TaskLine {
    /// Thread id.
    pub pid: u32,
    /// Process id.
    pub tgid: u32,
    /// Name; bytes that cannot be printed are `\xNN`.
    pub comm: Text,
}

/// Memory of one kind that one task allocated from one caller. Who allocated it was observed; who uses or pins it now
/// was not.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// How the memory was allocated. More values can follow.
    pub kind: HolderKind,
    /// Number of allocations, lists or mappings.
    pub count: u64,
    /// Their references to the range: one each, but one per page of a mapping.
    pub references: u64,
    /// Bytes that are not freed.
    pub bytes: u64,
    /// The task that allocated the memory.
    pub allocated_by: Option<TaskLine>,
    /// Whether that process still exists. Memory can outlive the process that allocated it.
    pub process: Liveness,
    /// Latest time at which it exited, if that was observed.
    pub exited_ns: Option<u64>,
    /// The cgroup of the task at the allocation; absent if that cgroup no longer exists.
    pub cgroup: Option<Text>,
    /// The id of that cgroup.
    pub cgroup_id: Option<u64>,
    /// The calling function, such as `nvme_alloc_queue+0x177 [nvme]`.
    pub caller: Option<Text>,
    /// The caller's address.
    pub caller_addr: Option<Hex>,
    /// When the oldest was allocated, RFC 3339 in UTC.
    pub oldest: Text,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub oldest_ns: u64,
    /// When the newest was allocated.
    pub newest_ns: u64,
    /// Age of the oldest.
    pub age_ns: u64,
    /// The record of the oldest allocation.
    pub record: RecordId,
    /// The caller is in the module of the bound driver, whose remove callback is expected to free the memory. Absent
    /// if that is unknown: the caller has no name, or both are built into the kernel.
    pub by_driver: Option<bool>,
    /// Records were lost since: the memory is outstanding, but may have been freed and allocated by another task.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsure: bool,
}

/// Memory found allocated whose holder is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preexisting {
    /// Total.
    pub bytes: u64,
    /// Bytes of it that may belong to observed mappings, whose place is unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mapped_max: u64,
    /// Contiguous pieces. One piece can be several adjacent allocations.
    pub runs: Vec<RunReport>,
    /// Pieces that are not listed because there are too many.
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

/// An ongoing unbind or removal.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnbindReport {
    /// A killed range still has references or has waited for a second, or the unbinding task has waited for a second.
    pub blocked: bool,
    /// When its first step was observed, RFC 3339 in UTC.
    pub since: Option<Text>,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: Option<u64>,
    /// Time for which the task that holds the device's lock has been off the CPU, without suspend: it has waited for
    /// at least this time.
    pub waiting_ns: Option<u64>,
    /// Its current step.
    pub step: Option<UnbindStep>,
    /// How the step is known.
    pub step_from: Option<StepFrom>,
    /// The task that unbinds.
    pub task: Option<TaskLine>,
    /// Its kernel stack, innermost frame first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Text>,
    /// Why there is no stack.
    pub stack_error: Option<Text>,
    /// It began before tracing, or records of it were lost: it is at least as old as `since`, and earlier steps may
    /// be missing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steps_may_be_missing: bool,
    /// The observed steps, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepLine>,
}

/// Source of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepFrom {
    /// The task's kernel stack.
    Stack,
    /// The last event of the teardown.
    Events,
    /// The state of the ranges in a snapshot.
    State,
}

/// An observed step.
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

/// Whether an unbind would complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing would block it.
    Yes,
    /// Too little is known.
    Unknown,
    /// It would be blocked, or already is.
    No,
}

/// Whether an unbind would complete, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CanUnbind {
    /// The answer.
    pub answer: Answer,
    /// Why, in one sentence.
    pub reason: Text,
    /// The memory and users that it would wait for, for certain or possibly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Text>,
}

impl Report {
    /// The answer for all devices: the worst of them.
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
