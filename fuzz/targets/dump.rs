//! The reader of event dumps and its consumers: open, replay, check. Once with the bytes as they are, and
//! once with valid checksums, which mutations would never produce.

#![no_main]

use p2p_trace_dump::fuzz::{read, with_valid_checksums};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&with_valid_checksums(bytes.to_vec()));
});
