//! The pure model of p2p-trace: from records to findings, the same live and after the fact.
//!
//! It has no input, no output and no clock but the stream of records. Each module needs only those above it:
//!
//! 1. [`text`] makes text from outside safe; [`units`] and [`names`] write values.
//! 2. [`event`] decodes records.
//! 3. [`stream`] puts the records of all CPUs into the order of time, and each event together with its stack.
//! 4. [`accounting`] compares what the kernel counted with what arrived.
//! 5. [`state`] keeps what is true after each event: ranges, references, teardowns.
//! 6. [`holders`] groups what is out by who took it.
//! 7. [`rules`] judges it.
//! 8. [`pipeline`] is all of that in one.
//!
//! The feature `testing` adds a simulated kernel for the tests of whatever uses this crate.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests make what they need in folders of their own")
)]

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
