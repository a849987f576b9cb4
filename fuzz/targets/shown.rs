//! Everything that shows a dump: the report and its page, lines of text and JSON, and each view of the dashboard.

#![no_main]

use p2p_trace::commands::fuzz::shown;
use p2p_trace_dump::fuzz::mended;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    shown(&mended(bytes.to_vec()));
});
