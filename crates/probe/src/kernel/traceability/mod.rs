//! Whether this kernel can be traced by this process; if not, why, and what to do about it.

#![forbid(unsafe_code)]

mod checks;
#[cfg(test)]
mod tests;

use std::fmt;

use p2p_trace_model::text::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{config::Setting, lockdown::Lockdown, patching::Patching, release::Release, rights::Rights};

/// Where the kernel's types come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeSource {
    /// From the kernel itself.
    Kernel,
    /// From a file only: layouts are known, but fentry is not possible.
    File,
    /// From nowhere; why.
    None(String),
}

/// The facts that decide.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The kernel's release.
    pub release: &'a Release,
    /// `CONFIG_PCI_P2PDMA`.
    pub p2pdma_option: Setting,
    /// `CONFIG_BPF_SYSCALL`.
    pub bpf_option: Setting,
    /// `CONFIG_KPROBE_EVENTS`.
    pub kprobes_option: Setting,
    /// Whether the kernel's p2pdma functions were found; `None` if neither symbols nor types could be read.
    pub has_p2pdma: Option<bool>,
    /// It is a real-time kernel.
    pub is_realtime: bool,
    /// Its BPF has atomic operations that return a value.
    pub has_fetch_add: bool,
    /// Whether its functions can be live-patched beside fentry.
    pub patching: Patching,
    /// Where its types come from.
    pub types: TypeSource,
    /// Its lockdown level.
    pub lockdown: Lockdown,
    /// What this process may do.
    pub rights: &'a Rights,
    /// Whether the addresses of symbols are hidden, or symbols unreadable.
    pub addresses_hidden: bool,
    /// How many CPUs there may be; `None` if the kernel's list of them could not be read.
    pub possible_cpus: Option<u32>,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The kernel has no peer-to-peer memory.
    NoP2pdma,
    /// Whether it has, or which CPUs there may be, could not be found out.
    Unreadable,
    /// The kernel is older than any supported one.
    TooOld,
    /// A real-time kernel without what it takes to trace one.
    Realtime,
    /// The kernel cannot load BPF programs.
    NoBpf,
    /// The kernel's types are not known.
    NoBtf,
    /// The kernel is locked down.
    Lockdown,
    /// Capabilities count only in the initial user namespace.
    UserNamespace,
    /// Capabilities are missing.
    Capabilities,
    /// Functions cannot be attached to by fentry.
    NoFentry,
    /// Functions cannot be attached to by kprobe.
    NoKprobes,
    /// A function cannot be live-patched beside fentry.
    Patching,
    /// Addresses cannot be named.
    HiddenSymbols,
    /// The limit on locked memory may be too small.
    Memlock,
    /// A hook cannot be attached.
    Hook,
}

/// What a problem that keeps everything from being traced is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This kernel cannot be traced, whoever asks.
    Kernel,
    /// Whether it can be traced could not be found out.
    Unclear,
    /// This process may not.
    Rights,
}

/// One thing that stands in the way: what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which kind.
    pub kind: ProblemKind,
    /// Whether nothing at all can be traced; otherwise something is lost.
    pub blocking: bool,
    /// What is wrong.
    pub what: Text,
    /// What to do about it, or what is lost.
    pub remedy: Text,
    #[serde(skip)]
    cause: Option<Cause>,
}

impl Problem {
    /// Something is lost; the rest can be traced.
    pub fn limit(kind: ProblemKind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, blocking: false, what: what.into().into(), remedy: remedy.into().into(), cause: None }
    }

    /// Of all hooks none can be attached, the first of them for this reason.
    pub fn no_hook(reason: &str) -> Self {
        Self::block(
            Cause::Kernel,
            ProblemKind::Hook,
            format!("no hook can be attached ({reason})"),
            "give the types of the kernel that runs here with --kernel-btf, or boot another kernel",
        )
    }

    fn block(cause: Cause, kind: ProblemKind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { blocking: true, cause: Some(cause), ..Self::limit(kind, what, remedy) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// The answer: the problems, those of the kernel before those of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traceability {
    problems: Vec<Problem>,
}

impl Traceability {
    /// Decides.
    pub(crate) fn judge(facts: &Facts<'_>) -> Self {
        Self { problems: checks::all(facts) }
    }

    /// All problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Adds one that was found later, such as a hook that cannot be attached.
    pub fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The problem that decides: the first blocking one, one of the kernel before one of rights, which would not help.
    pub fn obstacle(&self) -> Option<&Problem> {
        let first = |cause| self.problems.iter().find(move |problem| problem.cause == Some(cause));
        [Cause::Kernel, Cause::Unclear, Cause::Rights].into_iter().find_map(first)
    }

    /// Whether anything can be traced.
    pub fn is_possible(&self) -> bool {
        self.obstacle().is_none()
    }

    /// What [`Traceability::obstacle`] is one of; `None` if tracing is possible.
    pub fn cause(&self) -> Option<Cause> {
        self.obstacle()?.cause
    }
}
