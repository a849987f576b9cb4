//! A scan of all tasks.

use std::{fmt, io};

use p2p_trace_model::{event::DeviceAddress, text::Text};

use super::{
    Hint, StackError, Tasks, UnbindStep, frames, mappings, numbers_in, read, stat::Stat, unbind_step,
};
use crate::kernel::symbols::Symbol;

/// Maximum number of tasks in an uninterruptible wait whose kernel stacks are read; there should be few.
const MAX_STACKS: usize = 4096;
/// Maximum number of other tasks whose kernel stacks are read, if all tasks are scanned.
const MAX_ALL_STACKS: usize = 65_536;

/// The tasks whose kernel stacks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackScope {
    /// Tasks in an uninterruptible wait.
    Waiting,
    /// All tasks: an unbind may also wait interruptibly, as VFIO's does (`vfio_unregister_group_dev`), or run.
    All,
}

/// A task by its ids in this `/proc`, and its escaped name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Thread id.
    pub pid: u32,
    /// Process id.
    pub tgid: u32,
    /// Name of the thread.
    pub comm: Text,
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}

/// A process that has p2p memory of a device mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The device that provides the memory.
    pub device: DeviceAddress,
    /// The process.
    pub task: TaskName,
    /// Bytes of address space; how many of them are backed by memory is unknown.
    pub bytes: u64,
    /// Some mappings are older than the last unbind or removal of the device.
    pub deleted: bool,
}

/// A thread in an uninterruptible wait with DMA functions in its kernel stack. The stack does not name the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The thread.
    pub task: TaskName,
    /// The frame that matched.
    pub hint: Option<Hint>,
    /// The step of an unbind, if the thread is unbinding a device.
    pub unbinds: Option<UnbindStep>,
    /// Its kernel stack, innermost frame first.
    pub stack: Vec<Symbol>,
}

/// A thread in any state that is unbinding a device. Its stack does not name the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbinding {
    /// The thread.
    pub task: TaskName,
    /// The current step.
    pub step: UnbindStep,
}

/// Information that the scan could not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// The list of processes is incomplete, or of another namespace.
    #[error(transparent)]
    Hidden(#[from] super::Hidden),
    /// Mappings of some processes.
    #[error("cannot read the mappings of {count} processes: CAP_SYS_PTRACE is required")]
    Mappings {
        /// Number of processes.
        count: usize,
    },
    /// Kernel stacks of waiting tasks.
    #[error("{error} ({count} waiting tasks)")]
    Stacks {
        /// Number of tasks.
        count: usize,
        /// The first error.
        error: StackError,
    },
    /// There are more waiting tasks than the limit.
    #[error("read only the kernel stacks of the first {read} of {count} waiting tasks")]
    TooMany {
        /// Number of stacks read.
        read: usize,
        /// Number of waiting tasks.
        count: usize,
    },
}

impl Gap {
    /// An unbind may have been missed because of the gap.
    pub const fn hides_unbinds(&self) -> bool {
        matches!(self, Self::Hidden(_) | Self::Stacks { .. } | Self::TooMany { .. })
    }
}

/// The result of a scan of all tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By process, then device.
    pub mappings: Vec<Mapping>,
    /// By process, then thread.
    pub waiting: Vec<Waiting>,
    /// Tasks that are unbinding a device, among those whose stacks were read.
    pub unbinding: Vec<Unbinding>,
    /// Information that could not be read. If empty, only tasks that started or exited during the scan may be missing.
    pub gaps: Vec<Gap>,
}

/// Counts of items that could not be read.
#[derive(Default)]
struct Unread {
    mappings: usize,
    stacks: usize,
    stack_error: Option<StackError>,
    waiting: usize,
    others: usize,
}

pub(super) fn scan(tasks: &Tasks, scope: StackScope) -> Scan {
    let mut scan = Scan::default();
    let mut unread = Unread::default();
    for tgid in numbers_in(&tasks.root.proc) {
        scan_mappings(tasks, tgid, &mut scan, &mut unread);
        for pid in numbers_in(&tasks.process(tgid).join("task")) {
            scan_thread(tasks, scope, tgid, pid, &mut scan, &mut unread);
        }
    }
    scan.gaps = gaps(tasks, &unread);
    scan
}

fn scan_mappings(tasks: &Tasks, tgid: u32, scan: &mut Scan, unread: &mut Unread) {
    let folder = tasks.process(tgid);
    let maps = match read(&folder.join("maps")) {
        Ok(maps) => maps,
        Err(error) => {
            unread.mappings += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
            return;
        }
    };
    let found = mappings::parse(&maps);
    if found.is_empty() {
        return;
    }
    let Some(stat) = Stat::read(&folder) else { return };
    for (device, mapped) in found {
        scan.mappings.push(Mapping {
            device,
            task: name(tgid, tgid, &stat),
            bytes: mapped.bytes,
            deleted: mapped.deleted,
        });
    }
}

fn scan_thread(tasks: &Tasks, scope: StackScope, tgid: u32, pid: u32, scan: &mut Scan, unread: &mut Unread) {
    let Some(stat) = Stat::read(&tasks.thread(tgid, pid)) else { return };
    let waits = stat.state == 'D';
    if (!waits && scope == StackScope::Waiting) || stat.has_exited() {
        return;
    }
    let (count, most) =
        if waits { (&mut unread.waiting, MAX_STACKS) } else { (&mut unread.others, MAX_ALL_STACKS) };
    *count += 1;
    if *count > most {
        return;
    }
    let stack = match tasks.stack(tgid, pid) {
        Ok(stack) => stack,
        // The thread may have exited in the meantime.
        Err(StackError::Absent) if tasks.state(tgid, pid).is_none() => return,
        Err(error) => {
            unread.stacks += 1;
            unread.stack_error.get_or_insert(error);
            return;
        }
    };
    let unbinds = unbind_step(&stack.iter().map(|frame| frame.name.as_str()).collect::<Vec<_>>());
    if let Some(step) = unbinds {
        scan.unbinding.push(Unbinding { task: name(tgid, pid, &stat), step });
    }
    if !waits {
        return;
    }
    let hint = frames::hint(&stack);
    if hint.is_some() || unbinds.is_some() {
        scan.waiting.push(Waiting { task: name(tgid, pid, &stat), hint, unbinds, stack });
    }
}

fn name(tgid: u32, pid: u32, stat: &Stat) -> TaskName {
    TaskName { pid, tgid, comm: stat.comm.clone() }
}

fn gaps(tasks: &Tasks, unread: &Unread) -> Vec<Gap> {
    let mut gaps: Vec<_> = tasks.hidden.map(Gap::Hidden).into_iter().collect();
    if unread.mappings > 0 {
        gaps.push(Gap::Mappings { count: unread.mappings });
    }
    if let Some(error) = unread.stack_error {
        gaps.push(Gap::Stacks { count: unread.stacks, error });
    }
    let too_many = [(MAX_STACKS, unread.waiting), (MAX_ALL_STACKS, unread.others)].into_iter();
    gaps.extend(
        too_many.filter(|(read, count)| count > read).map(|(read, count)| Gap::TooMany { read, count }),
    );
    gaps
}
