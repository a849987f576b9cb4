//! The reader of a kernel's types, and all that a session asks of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| p2p_trace_probe::fuzz::btf(bytes));
