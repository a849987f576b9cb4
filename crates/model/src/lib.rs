//! The pure model of p2p-trace: it turns records into findings, with the same results live and post-mortem.
//!
//! Its only input, and its only clock, is the stream of records. Each module depends only on those above it:
//!
//! 1. [`text`] sanitizes external text; [`units`] and [`names`] format values.
//! 2. [`event`] decodes records.
//! 3. [`stream`] sorts the records of all CPUs by time, and joins each event with its stack.
//! 4. [`accounting`] compares the kernel's counts with the records that arrived.
//! 5. [`state`] keeps the state after each event: ranges, references, teardowns.
//! 6. [`holders`] groups outstanding memory by holder.
//! 7. [`rules`] evaluates the state.
//! 8. [`pipeline`] combines all of these.
//!
//! The feature `testing` adds a simulated kernel for the tests of crates that use this one.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create files in folders of their own"))]

pub mod accounting;
pub mod event;
pub mod holders;
pub mod names;
pub mod pipeline;
pub mod rules;
pub mod state;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod units;
