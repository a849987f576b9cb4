//! What a source delivers at a time.

use p2p_trace_common::Record;

use super::Diagnostic;
use crate::event::Loss;

/// What one poll brought.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records, in the order of their positions within each ring.
    pub records: Vec<Record>,
    /// Positions that will never be delivered.
    pub losses: Vec<Loss>,
    /// No later batch holds a record or loss older than this; `CLOCK_BOOTTIME` in nanoseconds.
    pub watermark_ns: u64,
    /// What the kernel side said of itself.
    pub diagnostics: Vec<Diagnostic>,
    /// The status of the session has something new to say.
    pub changed: bool,
}

impl Batch {
    /// Empties it, and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.losses.clear();
        self.diagnostics.clear();
        self.changed = false;
    }

    /// Neither records nor losses, and nothing said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.losses.is_empty() && self.diagnostics.is_empty()
    }
}
