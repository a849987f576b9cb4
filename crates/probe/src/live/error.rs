//! Why a session cannot start or go on.

use std::io;

use p2p_trace_model::text::Text;
use thiserror::Error;

use crate::kernel::{btf::BtfError, cpus::CpusError, devices::DeviceError};

/// Why a session cannot start or go on: what failed, on what, and what to do.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A device on the command line is none.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The BTF cannot be read.
    #[error("cannot read the kernel's BTF")]
    Btf(#[from] BtfError),
    /// The possible CPUs are not known.
    #[error(transparent)]
    Cpus(#[from] CpusError),
    /// A file of the kernel's cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The compiled kernel side does not fit this program, or the kernel refused it.
    #[error("cannot load the kernel side: {0}")]
    Load(Text),
    /// A system call on the kernel side failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody wanted it to end before everything was attached; nothing is any more.
    #[error("interrupted before everything was attached")]
    Interrupted,
    /// Not one hook could be attached.
    #[error("no hook could be attached; the first failure: {0}")]
    NothingAttached(Text),
}

impl ProbeError {
    /// An `io::Error` with what was tried, for `map_err`.
    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
