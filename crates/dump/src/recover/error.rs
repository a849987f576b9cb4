//! Why a memory dump cannot be read at all.

use std::io;

use p2p_trace_model::text::Text;

use super::memory::Format;

/// A dump that cannot be read. What goes wrong in the middle of one is skipped, and told ([`super::Skipped`]).
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Reading it fails.
    #[error("cannot read {what}")]
    Io {
        /// What was to be read.
        what: &'static str,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// Its own description makes no sense.
    #[error("this is not a sound {format} dump: {what} (--format raw searches it as it lies)")]
    Malformed {
        /// The format that it begins as.
        format: Format,
        /// What is wrong.
        what: Text,
    },
    /// Nothing is known to read this kind.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It is something else: what, and what to do.
    #[error("{0}")]
    Foreign(Text),
    /// It has to be read out of order.
    #[error("a {0} cannot be read from a pipe: write it to a file first")]
    NeedsFile(&'static str),
}

impl CoreError {
    /// For [`Result::map_err`].
    pub(super) fn reading(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
