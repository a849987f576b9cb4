//! Errors that prevent a memory dump from being read at all.

use std::io;

use p2p_trace_model::text::Text;

use super::memory::Format;

/// A dump that cannot be read. Errors in the middle of a dump are skipped and reported ([`super::Skipped`]).
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// A read failed.
    #[error("cannot read {part}")]
    Io {
        /// The part that was to be read.
        part: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The dump's description of itself is invalid.
    #[error("malformed {format} dump: {problem} (--format raw searches the file as is)")]
    Malformed {
        /// The format that the file begins with.
        format: Format,
        /// The error.
        problem: Text,
    },
    /// A known kind of file that is not supported.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Another kind of file; the text names it and the remedy.
    #[error("{0}")]
    Foreign(Text),
    /// The format requires random access.
    #[error("a {0} cannot be read from a pipe: write it to a file first")]
    NeedsFile(&'static str),
}

impl CoreError {
    /// An argument for [`Result::map_err`].
    pub(super) fn reading(part: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { part, source }
    }
}
