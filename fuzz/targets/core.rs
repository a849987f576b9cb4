//! The readers of a crashed kernel's memory, for every format, from a file and from a pipe.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| p2p_trace_dump::recover::fuzz::search(bytes));
