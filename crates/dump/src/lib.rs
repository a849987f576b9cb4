//! The event dump: a run in files, readable on another machine, years later, and from whatever part of it
//! survives.
//!
//! A file is a sequence of blocks ([`block`]) that never change once written, each with its own checksum. A
//! dump stores the input of the [`Pipeline`]: [`Slice`]s in order, and the status changes between them, so
//! that a replay produces the same lines. `docs/dump-format.md` describes the bytes.
//!
//! [`Writer`] writes a dump, [`Reader`] reads the blocks of one file, and [`RunReader`] joins the files of a
//! run into one stream. [`recover`] makes a dump from the memory of a crashed kernel.
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
