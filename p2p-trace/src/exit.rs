//! The exit codes of every command: one table for all.

use std::process::ExitCode;

use p2p_trace_probe::kernel::traceability::Cause;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked holds, or was done.
    Success = 0,
    /// A rule is violated.
    Violated = 1,
    /// Too little was seen to tell.
    Inconclusive = 2,
    Error = 3,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// This kernel cannot be traced (`EX_UNAVAILABLE`).
    NotTraceable = 69,
    /// Rights are missing, or the kernel is locked down (`EX_NOPERM`).
    NoRights = 77,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Of whether a kernel can be traced: what stands in the way, if anything does.
impl From<Option<Cause>> for Exit {
    fn from(cause: Option<Cause>) -> Self {
        match cause {
            None => Self::Success,
            Some(Cause::Kernel) => Self::NotTraceable,
            Some(Cause::Unclear) => Self::Error,
            Some(Cause::Rights) => Self::NoRights,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) exit: Exit,
    /// What failed, on what, and what to do.
    message: String,
}

impl Refusal {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }
}
