//! The records that a source delivers at one time.

use p2p_trace_common::Record;

use super::Diagnostic;
use crate::event::Loss;

/// The result of one poll.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records, in order of their positions within each ring.
    pub records: Vec<Record>,
    /// Positions that will never be delivered.
    pub losses: Vec<Loss>,
    /// No later batch has a record or loss older than this, `CLOCK_BOOTTIME` in nanoseconds.
    pub watermark_ns: u64,
    /// Diagnostics of the kernel side.
    pub diagnostics: Vec<Diagnostic>,
    /// The status of the session has changed.
    pub changed: bool,
}

impl Batch {
    /// Clears the batch but keeps its buffers.
    pub fn clear(&mut self) {
        self.records.clear();
        self.losses.clear();
        self.diagnostics.clear();
        self.changed = false;
    }

    /// Returns whether there are no records, losses, or diagnostics.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.losses.is_empty() && self.diagnostics.is_empty()
    }
}
