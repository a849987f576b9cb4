//! A fake kernel made of files, for tests: its `/sys`, its `/proc`, and its types.

#![expect(missing_docs, reason = "the names of test values explain them")]
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]
#![expect(clippy::disallowed_methods, reason = "tests create files in their own folders")]

pub mod btf;
pub mod procfs;
pub mod sysfs;
