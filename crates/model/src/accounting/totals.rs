//! What the kernel side counted, by its own account.

use p2p_trace_common::Ring;

/// Where one ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// CPU.
    pub cpu: u32,
    /// Ring.
    pub ring: Ring,
    /// Records begun by the kernel side.
    pub head: u64,
}

/// What the kernel side knows that it did not tell in full. All 0 in a run in which nothing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfalls {
    /// Calls whose arguments or context found no room: their exits tell less, or nothing.
    pub notes_full: u64,
    /// Exits by kretprobe whose entry was not seen: calls that were under way at the attach, or whose note
    /// found no room.
    pub notes_missing: u64,
    /// Bursts of page frees that were written later than what they precede.
    pub bursts_late: u64,
}

/// What the kernel counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Hits per hook, over all CPUs, in units of what the hook counts; by [`Hook`](p2p_trace_common::Hook) number.
    pub hits: Vec<u64>,
    /// Runs per hook that the kernel skipped, so that they hit nothing; `None` where it does not say. Those of
    /// [`Hook::Pull`](p2p_trace_common::Hook::Pull) cost nothing and are not counted: whatever was not read is read again.
    pub missed: Vec<Option<u64>>,
    /// Records dropped before they had a position: only kernels without atomic fetch-add drop such.
    pub dropped: u64,
    /// What the kernel side could not note or write in time.
    pub shortfalls: Shortfalls,
    /// Where each ring stands.
    pub positions: Vec<Position>,
}
