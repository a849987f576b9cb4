//! Whether this process can trace this kernel; if not, why, and what to do about it.

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
    /// The kernel itself.
    Kernel,
    /// Only a file: layouts are known, but fentry is not possible.
    File,
    /// No source, with the reason.
    None(String),
}

/// The facts that determine whether tracing is possible.
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
    /// Whether it is a real-time kernel.
    pub is_realtime: bool,
    /// Whether its BPF has atomic operations that return a value.
    pub has_fetch_add: bool,
    /// Whether functions with fentry programs can be live-patched.
    pub patching: Patching,
    /// The source of the kernel's types.
    pub types: TypeSource,
    /// The lockdown level.
    pub lockdown: Lockdown,
    /// The rights of this process.
    pub rights: &'a Rights,
    /// Whether symbol addresses are hidden, or symbols unreadable.
    pub addresses_hidden: bool,
    /// Number of possible CPUs; `None` if the kernel's list of them could not be read.
    pub possible_cpus: Option<u32>,
}

/// The kind of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The kernel has no peer-to-peer memory.
    NoP2pdma,
    /// Whether it has peer-to-peer memory, or which CPUs are possible, is unknown.
    Unreadable,
    /// The kernel is older than the oldest supported one.
    TooOld,
    /// A real-time kernel without the BPF features that tracing needs there.
    Realtime,
    /// The kernel cannot load BPF programs.
    NoBpf,
    /// The kernel's types are unknown.
    NoBtf,
    /// The kernel is locked down.
    Lockdown,
    /// Capabilities apply only in the initial user namespace.
    UserNamespace,
    /// Capabilities are missing.
    Capabilities,
    /// fentry is not possible.
    NoFentry,
    /// kprobes are not possible.
    NoKprobes,
    /// A function cannot have both a fentry program and a live patch.
    Patching,
    /// Addresses cannot be named.
    HiddenSymbols,
    /// The limit on locked memory may be too small.
    Memlock,
    /// A hook cannot be attached.
    Hook,
}

/// The cause of a problem that prevents all tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This kernel cannot be traced by any user.
    Kernel,
    /// Whether the kernel can be traced is unknown.
    Unclear,
    /// This process lacks rights.
    Rights,
}

/// One problem: what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// Whether it prevents all tracing; otherwise only some facts are lost.
    pub blocking: bool,
    /// The problem.
    #[serde(rename = "message")]
    pub what: Text,
    /// What to do about it, or what is lost.
    pub remedy: Text,
    #[serde(skip)]
    cause: Option<Cause>,
}

impl Problem {
    /// A problem that loses some facts; the rest can be traced.
    pub fn limit(kind: ProblemKind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, blocking: false, what: what.into().into(), remedy: remedy.into().into(), cause: None }
    }

    /// No hook can be attached; `reason` is that of the first one.
    pub fn no_hook(reason: &str) -> Self {
        Self::block(
            Cause::Kernel,
            ProblemKind::Hook,
            format!("no hook can be attached ({reason})"),
            "pass the types of the running kernel with --kernel-btf, or boot another kernel",
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

/// The result: all problems, those of the kernel before those of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traceability {
    problems: Vec<Problem>,
}

impl Traceability {
    /// Runs all checks on the facts.
    pub(crate) fn assess(facts: &Facts<'_>) -> Self {
        Self { problems: checks::all(facts) }
    }

    /// All problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Adds a problem that was found later, such as a hook that cannot be attached.
    pub fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The decisive problem: the first blocking one. A problem of the kernel precedes one of rights, since rights would not help.
    pub fn obstacle(&self) -> Option<&Problem> {
        let first = |cause| self.problems.iter().find(move |problem| problem.cause == Some(cause));
        [Cause::Kernel, Cause::Unclear, Cause::Rights].into_iter().find_map(first)
    }

    /// Whether anything can be traced.
    pub fn is_possible(&self) -> bool {
        self.obstacle().is_none()
    }

    /// The cause of the [`Traceability::obstacle`]; `None` if tracing is possible.
    pub fn cause(&self) -> Option<Cause> {
        self.obstacle()?.cause
    }
}
