//! The reader of event dumps, and whatever it hands on: open, play, judge. Once as the bytes are, and once with checksums
//! that fit, which no mutation would come to.

#![no_main]

use p2p_trace_dump::fuzz::{mended, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&mended(bytes.to_vec()));
});
