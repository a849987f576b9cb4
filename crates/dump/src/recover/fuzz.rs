//! Entry point for fuzzing: processing of bytes from unknown sources.

use std::{io, num::NonZero};

use super::{Beginning, Search, carve_pipe, open, write};
use crate::recover::carve;

/// Searches a memory dump in both ways, and writes the records as an event dump.
pub fn search(bytes: &[u8]) {
    let search = Search { workers: NonZero::new(1), limit: 1 << 12, ..Search::default() };
    if let Ok(memory) = open(bytes.to_vec(), None) {
        drop(carve(&*memory, search, |_| {}));
    }
    if let Ok((facts, carved)) = carve_pipe(bytes, None, search, |_| {}) {
        for run in &carved.runs {
            // A failed write is reported, and harmless.
            drop(write(run, &Beginning::of(run, &facts), io::sink()));
        }
    }
}
