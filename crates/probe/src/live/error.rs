//! Errors that prevent a session from starting or continuing.

use std::io;

use p2p_trace_model::text::Text;
use thiserror::Error;

use crate::kernel::{btf::BtfError, cpus::CpusError, devices::DeviceError};

/// Why a session cannot start or continue: what failed, on what, and what to do.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A device on the command line does not exist or is not valid.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The BTF cannot be read.
    #[error("cannot read the kernel's BTF")]
    Btf(#[from] BtfError),
    /// The possible CPUs are unknown.
    #[error(transparent)]
    Cpus(#[from] CpusError),
    /// A kernel file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The compiled kernel side does not fit this program, or the kernel rejected it.
    #[error("cannot load the kernel side: {0}")]
    Load(Text),
    /// A system call on the kernel side failed.
    #[error("cannot {action}")]
    System {
        /// The attempted action.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The user interrupted the start; all hooks are detached.
    #[error("interrupted before everything was attached")]
    Interrupted,
    /// No hook could be attached.
    #[error("no hook could be attached; the first failure: {0}")]
    NothingAttached(Text),
}

impl ProbeError {
    /// Wraps an `io::Error` with the attempted action, for `map_err`.
    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
