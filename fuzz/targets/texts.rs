//! Texts from the kernel (symbols, `/proc`, the configuration), from another p2p-trace over the socket, and
//! from the command line.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((which, rest)) if which.is_multiple_of(2) => p2p_trace::commands::fuzz::texts(rest),
    Some((_, rest)) => p2p_trace_probe::fuzz::texts(rest),
    None => {}
});
