//! A row of the table of holders: a group of references, or a single one, and their holder.

use std::cmp::{Ordering, Reverse};

use p2p_trace_model::event::{DeviceAddress, Id, Task};

use super::super::query::{Column, Fields, Filter};

/// The task that allocated the memory. Who uses or pins it now is not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A task, and whether its process is known to have exited.
    Task(Task, bool),
    /// More than one process.
    Several(usize),
    /// The record of the allocation does not name the task.
    Unknown,
    /// The memory was allocated before tracing began, or while records were lost.
    Preexisting,
}

impl Holder {
    /// `p2pdio[726]`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Task(task, _) => format!("{}[{}]", task.name(), task.tgid),
            Self::Several(count) => format!("{count} processes"),
            Self::Unknown => "an unknown task".to_owned(),
            Self::Preexisting => "unknown holder".to_owned(),
        }
    }

    /// Whether the process is alive, as far as known.
    pub(crate) const fn liveness(&self) -> &'static str {
        match self {
            Self::Task(_, false) => "alive",
            Self::Task(_, true) => "exited",
            Self::Several(_) | Self::Unknown | Self::Preexisting => "-",
        }
    }
}

/// A row: a group of references, or a single one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The device that provides the memory.
    pub(crate) device: DeviceAddress,
    pub(crate) holder: Holder,
    /// The kind: allocation, scatter list, mmap, or several kinds.
    pub(crate) kind: &'static str,
    /// The function that allocated the memory.
    pub(crate) caller: String,
    /// The number of allocations, scatter lists and mmaps.
    pub(crate) count: u64,
    /// The number of references to the range.
    pub(crate) references: u64,
    pub(crate) bytes: u64,
    /// When the oldest memory was allocated; `None` if that was not observed.
    pub(crate) oldest_ns: Option<u64>,
    /// The record of the oldest allocation.
    pub(crate) record: Option<Id>,
    /// The direct-map address, of a single reference.
    pub(crate) addr: Option<u64>,
    /// The cgroup of the task.
    pub(crate) cgroup: Option<u64>,
    /// The stack of return addresses, innermost first.
    pub(crate) stack: Vec<u64>,
    /// Whether records were lost since the allocation, so that the holder may have changed.
    pub(crate) unsure: bool,
}

impl Row {
    /// A key that identifies the row across view models.
    pub(crate) fn key(&self) -> (DeviceAddress, String, Option<u64>, Option<Id>) {
        let record = self.record.filter(|_| self.count == 1);
        (self.device, self.holder.name(), self.addr, record)
    }

    /// Whether the row matches. `device` is the text of the device to match.
    pub(crate) fn matches(&self, filter: &Filter, device: &str) -> bool {
        filter.is_empty()
            || filter.matches(&Fields {
                device,
                process: &self.holder.name(),
                caller: &self.caller,
                kind: self.kind,
            })
    }

    /// Compares two rows by a column.
    pub(crate) fn compare(&self, other: &Self, column: Column) -> Ordering {
        let order = match column {
            Column::Bytes => other.bytes.cmp(&self.bytes),
            Column::References => other.references.cmp(&self.references),
            // Pre-existing memory is the oldest.
            Column::Age => self.oldest_ns.cmp(&other.oldest_ns),
            Column::Process => self.holder.name().cmp(&other.holder.name()),
            Column::Liveness => self.holder.liveness().cmp(other.holder.liveness()),
            Column::Kind => self.kind.cmp(other.kind),
            Column::Device => self.device.cmp(&other.device),
            Column::Caller => self.caller.cmp(&other.caller),
            Column::Address => self.addr.cmp(&other.addr),
        };
        let rest = || (self.device, Reverse(self.bytes), self.oldest_ns, self.record);
        order.then_with(|| rest().cmp(&(other.device, Reverse(other.bytes), other.oldest_ns, other.record)))
    }
}

impl Row {
    /// Merges another row into this one.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.references = self.references.saturating_add(other.references);
        self.bytes = self.bytes.saturating_add(other.bytes);
        if other.oldest_ns.is_some_and(|other| self.oldest_ns.is_none_or(|own| other < own)) {
            (self.oldest_ns, self.record) = (other.oldest_ns, other.record);
        }
        if self.kind != other.kind {
            self.kind = "several";
        }
        if self.caller != other.caller {
            "several callers".clone_into(&mut self.caller);
        }
        if self.stack != other.stack {
            self.stack.clear();
        }
        self.unsure |= other.unsure;
    }
}
