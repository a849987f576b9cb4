//! What the tests of several modules share: a simulated kernel, and what they show it with.

#![expect(missing_docs, reason = "the names of test values say what they are")]
#![expect(clippy::unwrap_used, reason = "it is for tests, where a panic is a failure")]

pub mod evaluation;
pub mod observe;
pub mod samples;
pub mod simulate;
pub mod status;
