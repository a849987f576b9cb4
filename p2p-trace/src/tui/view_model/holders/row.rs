//! One line of what is out: a group of references, or one, and who took them.

use std::cmp::{Ordering, Reverse};

use p2p_trace_model::event::{DeviceAddress, Id, Task};

use super::super::query::{Column, Fields, Filter};

/// Who took it. Who uses or pins it now is not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A task, and whether its process was found to have exited.
    Seen(Task, bool),
    /// More than one process.
    Several(usize),
    /// The task was not told.
    Unknown,
    /// It was taken before the tracing began, or while records were lost.
    Unseen,
}

impl Who {
    /// `p2pdio[726]`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Seen(task, _) => format!("{}[{}]", task.name(), task.tgid),
            Self::Several(count) => format!("{count} processes"),
            Self::Unknown => "an unknown task".to_owned(),
            Self::Unseen => "not seen".to_owned(),
        }
    }

    /// Whether the process is still there, as far as that is known.
    pub(crate) const fn liveness(&self) -> &'static str {
        match self {
            Self::Seen(_, false) => "alive",
            Self::Seen(_, true) => "gone",
            Self::Several(_) | Self::Unknown | Self::Unseen => "-",
        }
    }
}

/// One line: a group of references, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whose memory.
    pub(crate) device: DeviceAddress,
    pub(crate) who: Who,
    /// Allocation, scatter list, mmap, or several kinds.
    pub(crate) kind: &'static str,
    /// The function that took it.
    pub(crate) caller: String,
    /// Allocations, lists, mmaps.
    pub(crate) count: u64,
    /// References to the range.
    pub(crate) references: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// When the oldest was taken; `None`: before it could be seen.
    pub(crate) oldest_ns: Option<u64>,
    /// The record of that.
    pub(crate) record: Option<Id>,
    /// Direct-map address, of one.
    pub(crate) addr: Option<u64>,
    /// Cgroup of the task.
    pub(crate) cgroup: Option<u64>,
    /// Return addresses, innermost first.
    pub(crate) stack: Vec<u64>,
    /// Records were lost since: it may have changed hands.
    pub(crate) unsure: bool,
}

impl Row {
    /// What tells it from other rows, from one snapshot to the next.
    pub(crate) fn key(&self) -> (DeviceAddress, String, Option<u64>, Option<Id>) {
        let record = self.record.filter(|_| self.count == 1);
        (self.device, self.who.name(), self.addr, record)
    }

    /// It matches, for a device of this name.
    pub(crate) fn matches(&self, filter: &Filter, device: &str) -> bool {
        filter.is_empty()
            || filter.matches(&Fields {
                device,
                process: &self.who.name(),
                caller: &self.caller,
                kind: self.kind,
            })
    }

    /// Which of two comes first.
    pub(crate) fn compare(&self, other: &Self, column: Column) -> Ordering {
        let order = match column {
            Column::Bytes => other.bytes.cmp(&self.bytes),
            Column::References => other.references.cmp(&self.references),
            // What was there before is the oldest.
            Column::Age => self.oldest_ns.cmp(&other.oldest_ns),
            Column::Process => self.who.name().cmp(&other.who.name()),
            Column::Liveness => self.who.liveness().cmp(other.who.liveness()),
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
    /// Another group becomes part of this one.
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
