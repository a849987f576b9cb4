//! The line of an event.

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    event::{
        Event, Method, State,
        names::{self, Bdf, RecordId},
    },
    names::{Hex, is_false},
    text::Text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::render::{Context, Frame};

/// A kernel address with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FrameLine {
    /// Return address.
    pub addr: Hex,
    /// The function that contains it, with offset and module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Text>,
}

impl From<Frame> for FrameLine {
    fn from(frame: Frame) -> Self {
        Self { addr: Hex(frame.addr), symbol: frame.symbol }
    }
}

/// A state bit of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// The reference is counted by one atomic counter: the count is exact.
    Atomic,
    /// The reference was killed.
    Dead,
    /// The reference was exited: the range is being removed, or is gone.
    Exited,
    /// The pool still has the memory, but the range's `dev_pagemap` was freed.
    Freed,
}

impl StateName {
    fn all(state: State) -> Vec<Self> {
        let bits = [
            (state.atomic, Self::Atomic),
            (state.dead, Self::Dead),
            (state.exited, Self::Exited),
            (state.freed, Self::Freed),
        ];
        bits.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
    }
}

/// One event. Fields that were not observed are absent; addresses are hexadecimal strings, `range_end` is inclusive,
/// sizes are bytes. `docs/events.md` gives the meaning of each field for each kind.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventLine {
    /// Id of the record.
    pub id: RecordId,
    /// Kind of the event.
    #[serde(with = "names::kind")]
    #[schemars(with = "String")]
    pub kind: Kind,
    /// Hook that observed it.
    #[serde(with = "names::hook")]
    #[schemars(with = "String")]
    pub hook: Hook,
    /// The kernel function that was traced.
    pub function: Option<Text>,
    /// How the hook was attached: `fentry` or `kprobe`.
    #[serde(with = "names::sure_method")]
    #[schemars(with = "names::MethodName")]
    pub method: Method,
    /// The hook is attached only while a teardown is pending.
    #[serde(default, skip_serializing_if = "is_false")]
    pub armed: bool,
    /// Time, RFC 3339 in UTC.
    pub time: String,
    /// Time, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// CPU that wrote it; 4294967295: written by user space.
    pub cpu: u32,
    /// Sequence number within the run and CPU.
    pub seq: u64,
    /// Thread id in the initial pid namespace.
    pub pid: Option<u32>,
    /// Process id in the initial pid namespace.
    pub tgid: Option<u32>,
    /// Name of the thread; bytes that cannot be printed are `\xNN`, and a backslash is doubled.
    pub comm: Option<String>,
    /// Cgroup id of the task.
    pub cgroup_id: Option<u64>,
    /// The device that provides the memory.
    pub device: Option<Bdf>,
    /// Address of the `struct dev_pagemap`, which identifies the range while it exists.
    pub pgmap: Option<Hex>,
    /// BAR number.
    pub bar: Option<u16>,
    /// Offset in the BAR.
    pub offset: Option<u64>,
    /// Kernel virtual address of the memory.
    pub addr: Option<Hex>,
    /// First physical address of the range.
    pub range_start: Option<Hex>,
    /// Last physical address of the range.
    pub range_end: Option<Hex>,
    /// Bytes requested, freed or mapped.
    pub size: Option<u64>,
    /// Return value of the function.
    pub ret: Option<i32>,
    /// The function returned no memory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// References to the range.
    pub refs: Option<i64>,
    /// `refs` is a sum over counters while they changed, or the remainder of an exited reference.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refs_estimate: bool,
    /// Low half of the address of the range's `struct percpu_ref`; ranges that share a reference have the same value
    /// (kind `kill`).
    pub reference: Option<Hex>,
    /// Bytes that the pool counts as allocated.
    pub allocated: Option<u64>,
    /// Pages, entries or ranges.
    pub count: Option<u32>,
    /// The argument of `pci_p2pmem_publish`.
    pub publish: Option<bool>,
    /// For the kind `attach`: the hook was attached; false: detached.
    pub attached: Option<bool>,
    /// Address of the scatter list.
    pub sgl: Option<Hex>,
    /// User virtual address.
    pub user_addr: Option<Hex>,
    /// Address of the (first) `struct page`.
    pub page: Option<Hex>,
    /// Physical address that is mapped.
    pub phys: Option<Hex>,
    /// The device that maps the memory.
    pub client: Option<Bdf>,
    /// State of the range: `atomic`, `dead`, `exited`, `freed`.
    pub state: Option<Vec<StateName>>,
    /// Index of the range's chunk in the pool as a snapshot found it, the newest first.
    pub chunk: Option<u8>,
    /// The pool serves all allocations of the range; false: its driver has replaced the pages' operations and
    /// allocates them itself (kinds `range_state` and `kill`, and those that open a teardown).
    pub pooled: Option<bool>,
    /// How long the task that holds the device's lock has been off the CPU, without suspend.
    pub waiting_ns: Option<u64>,
    /// The memory is published (kind `device_state`).
    pub published: Option<bool>,
    /// Memory of the device is outstanding (kinds that open a teardown).
    pub memory_outstanding: Option<bool>,
    /// The armed hooks compare with this range (kind `remove`).
    pub watched: Option<bool>,
    /// A snapshot reached the end of every chunk (kind `snapshot_end`).
    pub complete: Option<bool>,
    /// Time of the first of a burst.
    pub first_ns: Option<u64>,
    /// Time of the last of a burst.
    pub last_ns: Option<u64>,
    /// CPU on which the burst was counted.
    pub burst_cpu: Option<u16>,
    /// Return address of the function.
    pub caller: Option<FrameLine>,
    /// For a stack whose record was lost: sequence number of that record.
    pub parent: Option<u64>,
    /// Kernel stack, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<FrameLine>,
}

impl EventLine {
    /// The line for an event.
    pub(crate) fn new(event: &Event, context: &Context<'_>) -> Self {
        Self {
            id: RecordId(event.id),
            kind: event.kind,
            hook: event.hook,
            function: context.function(event.hook).map(Text::from),
            method: event.method,
            armed: event.armed,
            time: context.clock.rfc3339(event.time_ns),
            time_ns: event.time_ns,
            cpu: event.id.cpu,
            seq: event.id.seq,
            pid: event.task.map(|task| task.pid),
            tgid: event.task.map(|task| task.tgid),
            comm: event.task.map(|task| task.name()),
            cgroup_id: event.cgroup,
            device: event.device.map(Bdf),
            pgmap: event.pgmap.map(Hex),
            bar: event.bar,
            offset: event.offset,
            addr: event.addr.map(Hex),
            range_start: event.range.map(|range| Hex(range.start)),
            range_end: event.range.map(|range| Hex(range.end)),
            size: event.size,
            ret: event.ret,
            failed: event.failed,
            refs: event.refs.map(|refs| refs.count),
            refs_estimate: event.refs.is_some_and(|refs| refs.estimate),
            reference: event.reference.map(|low| Hex(low.into())),
            allocated: event.allocated,
            count: event.count,
            publish: event.flag.filter(|_| event.kind == Kind::Publish),
            attached: event.flag.filter(|_| event.kind == Kind::Attach),
            sgl: event.sgl.map(Hex),
            user_addr: event.user_addr.map(Hex),
            page: event.page.map(Hex),
            phys: event.physical.map(Hex),
            client: event.client.map(Bdf),
            state: event.state.map(StateName::all),
            chunk: event.state.filter(|_| event.kind == Kind::RangeState).map(|state| state.chunk),
            pooled: event.pooled,
            waiting_ns: event.waiting_ns,
            published: event.flag.filter(|_| event.kind == Kind::DeviceState),
            memory_outstanding: event
                .flag
                .filter(|_| matches!(event.kind, Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease)),
            watched: event.flag.filter(|_| event.kind == Kind::Remove),
            complete: event.flag.filter(|_| event.kind == Kind::SnapshotEnd),
            first_ns: event.span.map(|span| span.first_ns),
            last_ns: event.span.map(|span| span.last_ns),
            burst_cpu: event.burst_cpu,
            caller: event.caller.and_then(|addr| context.caller(addr)).map(FrameLine::from),
            parent: event.parent,
            stack: context.stack(event).into_iter().map(FrameLine::from).collect(),
        }
    }
}
