//! The exit codes of all commands.

use std::process::ExitCode;

use p2p_trace_probe::kernel::traceability::Cause;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded, or the rules hold.
    Success = 0,
    /// A rule is violated.
    Violated = 1,
    /// Too little was observed for an answer.
    Inconclusive = 2,
    Error = 3,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// This kernel cannot be traced (`EX_UNAVAILABLE`).
    NotTraceable = 69,
    /// Privileges are missing, or the kernel is locked down (`EX_NOPERM`).
    NoRights = 77,
}

impl Exit {
    /// The exit code of the process.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The exit code for the reason why a kernel cannot be traced; `None` if it can be.
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

/// An error with its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) exit: Exit,
    /// The failed operation, its target, and a remedy.
    message: String,
}

impl Refusal {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }
}
