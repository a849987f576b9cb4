//! The kernel side's own counts.

use p2p_trace_common::Ring;
use serde::{Deserialize, Serialize};

/// The position of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The CPU, or the lowest of those that share the ring.
    pub cpu: u32,
    /// Ring.
    pub ring: Ring,
    /// Records begun by the kernel side.
    pub head: u64,
}

/// Events that the kernel side knows it did not report in full. All are 0 in a run without problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfalls {
    /// Calls whose arguments or context could not be stored, so the records at their exits are incomplete or
    /// missing.
    pub notes_full: u64,
    /// Kretprobe exits without a known entry: calls that were in progress at the attach, or whose note could
    /// not be stored.
    pub notes_missing: u64,
    /// Bursts of page frees that were written after records they precede.
    pub bursts_late: u64,
}

/// The kernel's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Hits per hook over all CPUs, in units of what the hook counts, indexed by
    /// [`Hook`](p2p_trace_common::Hook) number.
    pub hits: Vec<u64>,
    /// Runs per hook that the kernel skipped, so that they counted no hit; `None` if the kernel does not
    /// count them. Skipped runs of [`Hook::Snapshot`](p2p_trace_common::Hook::Snapshot) lose no record and
    /// are not counted, because such a read is repeated.
    pub missed: Vec<Option<u64>>,
    /// Records dropped before they had a position. Only kernels without atomic fetch-add drop such records.
    pub dropped: u64,
    /// Events that the kernel side could not store or write in time.
    #[serde(flatten)]
    pub shortfalls: Shortfalls,
    /// The position of each ring.
    #[serde(with = "positions")]
    pub positions: Vec<Position>,
    /// The number of rings of each kind if CPUs share them, or 0 if each CPU has its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Serializes a position as CPU, ring, and head, and omits those of unknown rings.
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
