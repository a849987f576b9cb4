//! Tasks in `/proc`: which ones are alive, where they wait, and which ones may use a device's p2p memory.
//!
//! Tasks start and exit during a scan; one that vanishes is skipped, and facts that could not be read are reported as gaps.

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
pub use scan::{Gap, Mapping, Scan, StackScope, TaskName, Unbinding, Waiting};
pub use stack::StackError;
pub use step::{UnbindStep, unbind_step};

use super::root::{KernelRoot, read, read_text};
use super::symbols::Symbol;
use stat::Stat;

/// Parses the text as each kind of file.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    std::hint::black_box(Stat::parse(bytes));
    std::hint::black_box(frames::hint(&stack::parse(bytes)));
    std::hint::black_box(mappings::parse(bytes));
}

/// The link of the initial pid namespace, whose inode number is `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
pub(crate) const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether a process still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It exists.
    Alive,
    /// It has exited; another process may have its number.
    Exited,
    /// Unknown here: a separate pid or time namespace, `hidepid`, or no `/proc`.
    Unknown,
}

/// Why this `/proc` does not show all processes with the ids that the kernel side records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hidden {
    /// `/proc` is not mounted, or does not contain this process.
    #[error("/proc does not show this process: is it mounted?")]
    NoProc,
    /// The process ids are those of a container.
    #[error("this process runs in its own pid namespace, where process ids differ")]
    PidNamespace,
    /// Start times are shifted.
    #[error("this process runs in its own time namespace, where start times are shifted")]
    TimeNamespace,
    /// `/proc` is mounted with `hidepid`.
    #[error("/proc hides other users' processes (hidepid): run as root")]
    Hidepid,
}

/// Access to tasks in `/proc`.
#[derive(Clone, Debug)]
pub struct Tasks {
    root: KernelRoot,
    hidden: Option<Hidden>,
}

impl Tasks {
    /// Tasks of the running kernel, or of a stand-in for it.
    pub fn new(root: KernelRoot) -> Self {
        let hidden = find_hidden(&root);
        Self { root, hidden }
    }

    /// Why the liveness of processes is unknown, if it is.
    pub const fn hidden(&self) -> Option<Hidden> {
        self.hidden
    }

    /// Whether the process `tgid` that was seen at `seen_ns` (`CLOCK_BOOTTIME`) still exists.
    ///
    /// A process that started later only reuses the number. A zombie counts as exited, since its memory is gone.
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

    /// When the process that now has this number started, `CLOCK_BOOTTIME`; `None` if there is none, or the time is unknown.
    pub(crate) fn started_ns(&self, tgid: u32) -> Option<u64> {
        let is_known = self.hidden.is_none() && tgid != 0;
        Stat::read(&self.process(tgid)).filter(|_| is_known).map(|stat| stat.start_ns)
    }

    /// State letter of a thread, such as `D`; `None` if the thread no longer exists.
    pub(crate) fn state(&self, tgid: u32, pid: u32) -> Option<char> {
        Stat::read(&self.thread(tgid, pid)).map(|stat| stat.state)
    }

    /// Kernel stack of a thread, innermost frame first; empty while the thread runs in user space.
    ///
    /// # Errors
    ///
    /// [`StackError`] if it cannot be read.
    pub fn stack(&self, tgid: u32, pid: u32) -> Result<Vec<Symbol>, StackError> {
        let text = read(&self.thread(tgid, pid).join("stack"))?;
        Ok(stack::parse(&text))
    }

    /// The current cgroups.
    pub fn cgroups(&self) -> Cgroups {
        Cgroups::read(&self.root)
    }

    /// Searches all tasks for signs of p2p memory; `scope` selects the tasks whose kernel stacks are read.
    pub fn scan(&self, scope: StackScope) -> Scan {
        scan::scan(self, scope)
    }

    fn process(&self, tgid: u32) -> PathBuf {
        self.root.proc.join(tgid.to_string())
    }

    fn thread(&self, tgid: u32, pid: u32) -> PathBuf {
        self.process(tgid).join("task").join(pid.to_string())
    }

    /// Whether a thread still runs: the first thread of a process may exit before the others.
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
    // With hidepid, process 1 is visible to root only.
    read(&root.proc.join("1/stat")).is_err().then_some(Hidden::Hidepid)
}

/// Whether a line such as `boottime           3600         0` shifts the clock.
fn is_shifted(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("boottime") && words.any(|word| word != "0")
}

/// The numeric entries of a folder, ascending; empty if it cannot be read.
fn numbers_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<_> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}
