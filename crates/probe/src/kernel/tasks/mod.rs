//! Tasks as `/proc` shows them: which are alive, where they wait, and which may have to do with a device's p2p memory.
//!
//! Tasks come and go while they are looked at; one that vanishes is left out, and what could not be read is said.

#![forbid(unsafe_code)]

mod cgroup;
mod frames;
mod mappings;
mod scan;
mod stack;
mod stat;
mod step;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cgroup::Cgroups;
pub use frames::Hint;
pub use scan::{Gap, Look, Mapping, Scan, TaskName, Unbinding, Waiting};
pub use stack::StackError;
pub use step::{UnbindStep, unbind_step};

use super::root::{KernelRoot, read, read_text};
use super::symbols::Symbol;
use stat::Stat;

/// Takes the text as each of its kinds.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    std::hint::black_box(Stat::parse(bytes));
    std::hint::black_box(frames::hint(&stack::parse(bytes)));
    std::hint::black_box(mappings::parse(bytes));
}

/// Number of the first pid namespace's inode (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
pub(crate) const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether a process still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It does.
    Alive,
    /// It has exited; another one may have its number.
    Exited,
    /// It cannot be told from here: see [`Hidden`].
    Unknown,
}

/// Why this `/proc` does not show every process by the number that the kernel side records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hidden {
    /// There is no `/proc`, or not this process in it.
    #[error("/proc does not show this process: is it mounted?")]
    NoProc,
    /// The numbers are those of a container.
    #[error("this process runs in a pid namespace of its own, where processes have other numbers")]
    PidNamespace,
    /// Start times are shifted.
    #[error("this process runs in a time namespace of its own, where start times are shifted")]
    TimeNamespace,
    /// Mounted with `hidepid`.
    #[error("/proc hides the processes of others (hidepid): run as root")]
    Hidepid,
}

/// What `/proc` says of tasks.
#[derive(Clone, Debug)]
pub struct Tasks {
    root: KernelRoot,
    hidden: Option<Hidden>,
}

impl Tasks {
    /// Of the running kernel, or of what stands in for it.
    pub fn new(root: KernelRoot) -> Self {
        let hidden = find_hidden(&root);
        Self { root, hidden }
    }

    /// Why nothing can be said about whether processes are alive, if that is so.
    pub const fn hidden(&self) -> Option<Hidden> {
        self.hidden
    }

    /// Whether the process `tgid` that was seen at `seen_ns` (`CLOCK_BOOTTIME`) still exists.
    ///
    /// One that started later has only got the number of the one that was seen. A process that has exited, but was not
    /// waited for by its parent, is gone: its memory is.
    pub fn liveness(&self, tgid: u32, seen_ns: u64) -> Liveness {
        if self.hidden.is_some() {
            return Liveness::Unknown;
        }
        // The idle tasks are not in /proc, and never exit.
        if tgid == 0 {
            return Liveness::Alive;
        }
        let process = self.process(tgid);
        match Stat::read(&process) {
            Some(stat) if stat.start_ns > seen_ns => Liveness::Exited,
            Some(stat) if stat.has_exited() && !self.has_running_thread(tgid) => Liveness::Exited,
            Some(_) => Liveness::Alive,
            None if process.exists() => Liveness::Unknown,
            None => Liveness::Exited,
        }
    }

    /// When the process that has this number now was started, `CLOCK_BOOTTIME`; `None` where there is none, or it cannot be told.
    pub(crate) fn started_ns(&self, tgid: u32) -> Option<u64> {
        let is_told = self.hidden.is_none() && tgid != 0;
        Stat::read(&self.process(tgid)).filter(|_| is_told).map(|stat| stat.start_ns)
    }

    /// State letter of a thread, such as `D`; `None` if it is gone.
    pub(crate) fn state(&self, tgid: u32, pid: u32) -> Option<char> {
        Stat::read(&self.thread(tgid, pid)).map(|stat| stat.state)
    }

    /// Kernel stack of a thread, innermost frame first; empty while it runs in user space.
    ///
    /// # Errors
    ///
    /// [`StackError`], if it cannot be read.
    pub fn stack(&self, tgid: u32, pid: u32) -> Result<Vec<Symbol>, StackError> {
        let text = read(&self.thread(tgid, pid).join("stack"))?;
        Ok(stack::parse(&text))
    }

    /// The cgroups that exist now.
    pub fn cgroups(&self) -> Cgroups {
        Cgroups::read(&self.root)
    }

    /// Looks at every task for signs of p2p memory, and at the kernel stacks of these.
    pub fn scan(&self, look: Look) -> Scan {
        scan::scan(self, look)
    }

    fn process(&self, tgid: u32) -> PathBuf {
        self.root.proc.join(tgid.to_string())
    }

    fn thread(&self, tgid: u32, pid: u32) -> PathBuf {
        self.process(tgid).join("task").join(pid.to_string())
    }

    /// The first thread of a process may exit before the others.
    fn has_running_thread(&self, tgid: u32) -> bool {
        let threads = numbers_in(&self.process(tgid).join("task"));
        let runs = |pid| Stat::read(&self.thread(tgid, pid)).is_some_and(|stat| !stat.has_exited());
        threads.into_iter().any(runs)
    }
}

fn find_hidden(root: &KernelRoot) -> Option<Hidden> {
    let own = root.proc.join("self");
    let Ok(namespace) = fs::read_link(own.join("ns/pid")) else {
        return Some(Hidden::NoProc);
    };
    if namespace.as_os_str() != INITIAL_PID_NAMESPACE {
        return Some(Hidden::PidNamespace);
    }
    let offsets = read_text(&own.join("timens_offsets")).unwrap_or_default();
    if offsets.lines().any(is_shifted) {
        return Some(Hidden::TimeNamespace);
    }
    // The first process is everybody else's, unless root asks.
    read(&root.proc.join("1/stat")).is_err().then_some(Hidden::Hidepid)
}

/// `boottime           3600         0`
fn is_shifted(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("boottime") && words.any(|word| word != "0")
}

/// The entries of a folder that are numbers, ascending; none if it cannot be read.
fn numbers_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<_> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}
