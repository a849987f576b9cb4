//! The event dump: a run in files, readable on another machine, for years, and from whatever is left of it.
//!
//! A file is a sequence of blocks ([`block`]) that are never changed once they are written, each with a checksum of its
//! own. What is stored is what the [`Pipeline`] consumed: [`Slice`]s in their order, and changes of the status between
//! them, so that a replay comes to the same lines. `docs/dump-format.md` has the bytes.
//!
//! [`Writer`] writes, [`Reader`] reads the blocks of one file, [`RunReader`] makes one stream of the files of a run.
//! [`recover`] makes such a file of the memory of a kernel that has crashed.
//!
//! [`Pipeline`]: p2p_trace_model::pipeline::Pipeline
//! [`Slice`]: p2p_trace_model::pipeline::Slice

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests make what they need in folders of their own")
)]

pub mod block;
mod checkpoint;
mod codec;
mod describe;
pub mod export;
mod follow;
#[cfg(test)]
mod follow_tests;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod fuzz_tests;
#[cfg(any(test, feature = "testing"))]
pub mod hostile;
#[cfg(test)]
mod identity_tests;
mod opened;
mod planes;
mod reader;
mod records;
pub mod recover;
pub mod redact;
mod repeats;
mod run_reader;
#[cfg(any(test, feature = "testing"))]
pub mod samples;
mod scan;
pub mod sequence;
#[cfg(test)]
mod tests;
mod writer;

pub use block::MAGIC;
pub use checkpoint::{Checkpoint, Head};
pub use describe::{Diagnostics, Footer, Header, Origin, Reason, StatusChange, Symbols};
pub use follow::Following;
pub use opened::{OpenError, Opened};
pub use reader::{Damage, Entry, ReadError, Reader};
pub use records::{Counts, Records};
pub use redact::Redactor;
pub use run_reader::{End, RunItem, RunReader};
pub use writer::Writer;
