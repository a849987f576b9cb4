//! Parsers of small texts, for fuzzing.

use std::hint::black_box;

use super::{cpus, lockdown::Lockdown, symbols, tasks};

/// Runs each parser on the input.
pub(crate) fn texts(bytes: &[u8], text: &str) {
    tasks::fuzz(bytes);
    symbols::fuzz(text);
    black_box(cpus::parse_count(text));
    black_box(Lockdown::parse(text));
}
