//! Helpers for the tests of several modules: a simulated kernel, observers of it, and samples.

#![expect(missing_docs, reason = "the names of test values are self-explanatory")]
#![expect(clippy::unwrap_used, reason = "used only in tests, where a panic is a failure")]

pub mod evaluation;
pub mod observe;
pub mod samples;
pub mod simulate;
pub mod status;
