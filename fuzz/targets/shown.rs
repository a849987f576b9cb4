//! Every presentation of a dump: the report and its page, lines of text and JSON, and each view of the
//! dashboard.

#![no_main]

use p2p_trace::commands::fuzz::shown;
use p2p_trace_dump::fuzz::with_valid_checksums;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    shown(&with_valid_checksums(bytes.to_vec()));
});
