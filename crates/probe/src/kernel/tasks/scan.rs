//! One look at every task.

use std::{fmt, io};

use p2p_trace_model::{event::DeviceAddress, text::Text};

use super::{
    Hint, StackError, Tasks, UnbindStep, frames, mappings, numbers_in, read, stat::Stat, unbind_step,
};
use crate::kernel::symbols::Symbol;

/// Tasks in an uninterruptible wait whose kernel stack is read at most: they should be few.
const MAX_STACKS: usize = 4096;
/// All tasks whose kernel stack is read at most, where all are looked at.
const MAX_ALL_STACKS: usize = 65_536;

/// Whose kernel stack is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Tasks in an uninterruptible wait.
    Waiting,
    /// Every task: an unbind can wait interruptibly, as VFIO's does (`vfio_unregister_group_dev`), or run.
    Everyone,
}

/// A task by its numbers in this `/proc`, and its name, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Thread.
    pub pid: u32,
    /// Process.
    pub tgid: u32,
    /// What the thread calls itself.
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
    /// Whose memory.
    pub device: DeviceAddress,
    /// The process.
    pub task: TaskName,
    /// Bytes of address space; how many of them are backed by memory cannot be told.
    pub bytes: u64,
    /// Some of it is of before the device was last unbound or removed.
    pub deleted: bool,
}

/// A thread in an uninterruptible wait whose kernel stack speaks of DMA. Of which device, it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The thread.
    pub task: TaskName,
    /// The frame that speaks of it.
    pub hint: Option<Hint>,
    /// It is unbinding some device, and in this step.
    pub unbinds: Option<UnbindStep>,
    /// Its kernel stack, innermost frame first.
    pub stack: Vec<Symbol>,
}

/// A thread that is unbinding some device, in whatever state it is. Of which device, its stack does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbinding {
    /// The thread.
    pub task: TaskName,
    /// Where it is.
    pub step: UnbindStep,
}

/// Something that the scan could not see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// The list of processes is not complete, or of another namespace.
    #[error(transparent)]
    Hidden(#[from] super::Hidden),
    /// Mappings of some processes.
    #[error("the mappings of {count} processes are not readable: that needs CAP_SYS_PTRACE")]
    Mappings {
        /// How many processes.
        count: usize,
    },
    /// Kernel stacks of waiting tasks.
    #[error("{error} ({count} waiting tasks)")]
    Stacks {
        /// How many tasks.
        count: usize,
        /// Why.
        error: StackError,
    },
    /// There are more waiting tasks than are looked at.
    #[error("only the kernel stacks of the first {read} waiting tasks were read, of {count}")]
    TooMany {
        /// How many were read.
        read: usize,
        /// How many there are.
        count: usize,
    },
}

impl Gap {
    /// An unbind may have been overlooked for it.
    pub const fn hides_unbinds(&self) -> bool {
        matches!(self, Self::Hidden(_) | Self::Stacks { .. } | Self::TooMany { .. })
    }
}

/// What a look at every task has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By process, then device.
    pub mappings: Vec<Mapping>,
    /// By process, then thread.
    pub waiting: Vec<Waiting>,
    /// Whoever unbinds a device, among those that were looked at.
    pub unbinding: Vec<Unbinding>,
    /// What could not be seen: without any, nothing was overlooked but what came and went meanwhile.
    pub gaps: Vec<Gap>,
}

/// What could not be read, counted.
#[derive(Default)]
struct Unread {
    mappings: usize,
    stacks: usize,
    stack_error: Option<StackError>,
    waiting: usize,
    others: usize,
}

pub(super) fn scan(tasks: &Tasks, look: Look) -> Scan {
    let mut scan = Scan::default();
    let mut unread = Unread::default();
    for tgid in numbers_in(&tasks.root.proc) {
        scan_mappings(tasks, tgid, &mut scan, &mut unread);
        for pid in numbers_in(&tasks.process(tgid).join("task")) {
            scan_thread(tasks, look, tgid, pid, &mut scan, &mut unread);
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

fn scan_thread(tasks: &Tasks, look: Look, tgid: u32, pid: u32, scan: &mut Scan, unread: &mut Unread) {
    let Some(stat) = Stat::read(&tasks.thread(tgid, pid)) else { return };
    let waits = stat.state == 'D';
    if (!waits && look == Look::Waiting) || stat.has_exited() {
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
        // It may have gone on meanwhile.
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
