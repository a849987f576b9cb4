//! A kernel made of files, for tests: its `/sys`, its `/proc`, and its types.

#![expect(missing_docs, reason = "the names of test values say what they are")]
#![expect(clippy::unwrap_used, reason = "it is for tests, where a panic is a failure")]
#![expect(clippy::disallowed_methods, reason = "tests make what they need in folders of their own")]

pub mod btf;
pub mod procfs;
pub mod sysfs;
