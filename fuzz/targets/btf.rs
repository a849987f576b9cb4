//! The reader of a kernel's types, and all queries of a session.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| p2p_trace_probe::fuzz::btf(bytes));
