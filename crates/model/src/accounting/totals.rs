//! What the kernel side counted, by its own account.

use p2p_trace_common::Ring;
use serde::{Deserialize, Serialize};

/// Where one ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// CPU, or the lowest of those that share the ring.
    pub cpu: u32,
    /// Ring.
    pub ring: Ring,
    /// Records begun by the kernel side.
    pub head: u64,
}

/// What the kernel side knows that it did not tell in full. All 0 in a run in which nothing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Hits per hook, over all CPUs, in units of what the hook counts; by [`Hook`](p2p_trace_common::Hook) number.
    pub hits: Vec<u64>,
    /// Runs per hook that the kernel skipped, so that they hit nothing; `None` where it does not say. Those of
    /// [`Hook::Snapshot`](p2p_trace_common::Hook::Pull) cost nothing and are not counted: whatever was not read is read again.
    pub missed: Vec<Option<u64>>,
    /// Records dropped before they had a position: only kernels without atomic fetch-add drop such.
    pub dropped: u64,
    /// What the kernel side could not note or write in time.
    #[serde(flatten)]
    pub shortfalls: Shortfalls,
    /// Where each ring stands.
    #[serde(with = "positions")]
    pub positions: Vec<Position>,
    /// How many rings of each kind there are, where CPUs share them; 0: each CPU has its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A position is written as CPU, ring and head; one of a ring that is not known is left out.
mod positions {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Position, Ring};

    pub(super) fn serialize<S: Serializer>(positions: &[Position], serializer: S) -> Result<S::Ok, S::Error> {
        let triple = |at: &Position| (at.cpu, at.ring as u8, at.head);
        serializer.collect_seq(positions.iter().map(triple))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Position>, D::Error> {
        let triples = Vec::<(u32, u8, u64)>::deserialize(deserializer)?;
        let position = |(cpu, number, head)| {
            let ring = Ring::ALL.into_iter().find(|ring| *ring as u8 == number)?;
            Some(Position { cpu, ring, head })
        };
        Ok(triples.into_iter().filter_map(position).collect())
    }
}
