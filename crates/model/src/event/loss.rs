//! Records that are missing: positions of a ring that were claimed and never delivered, and what was never written.

use p2p_trace_common::{Hook, Ring};

use super::skips::{Affected, SkipRow};

/// Why a record was lost.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Newer records took its place before it was read.
    Overwritten = 1,
    /// Its producer was interrupted and did not finish it in time.
    Abandoned = 2,
    /// What lay in its place was not it.
    Corrupt = 3,
    /// It was never written: the kernel did not run the program, since one was running on that CPU, or the program could
    /// not number it. Positions mean nothing then, only how many there are.
    Skipped = 4,
    /// It was delivered, and the recorder had no room for it: its disk was too slow.
    Unrecorded = 5,
    /// It was recorded, and is damaged or missing in the dump. Positions mean nothing then, only how many there are.
    Damaged = 6,
    /// It was written, and the memory dump of the crashed kernel does not hold it.
    Absent = 7,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Overwritten,
        Self::Abandoned,
        Self::Corrupt,
        Self::Skipped,
        Self::Unrecorded,
        Self::Damaged,
        Self::Absent,
    ];

    /// The name used in every output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::Abandoned => "abandoned",
            Self::Corrupt => "corrupt",
            Self::Skipped => "skipped",
            Self::Unrecorded => "unrecorded",
            Self::Damaged => "damaged",
            Self::Absent => "absent",
        }
    }

    /// The reason with this number.
    pub(crate) const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Overwritten),
            2 => Some(Self::Abandoned),
            3 => Some(Self::Corrupt),
            4 => Some(Self::Skipped),
            5 => Some(Self::Unrecorded),
            6 => Some(Self::Damaged),
            7 => Some(Self::Absent),
            _ => None,
        }
    }
}

/// Consecutive positions of one ring that were lost for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// CPU that lost them, or the lowest of those that write into that ring; `None`: not known.
    pub cpu: Option<u32>,
    /// Ring.
    pub ring: Ring,
    /// First position lost.
    pub first: u64,
    /// Last position lost.
    pub last: u64,
    /// None of them was begun before this time.
    pub from_ns: u64,
    /// All of them were begun by this time.
    pub to_ns: u64,
    /// Why.
    pub reason: Reason,
    /// The hook whose runs were skipped; `None`: not told, or another reason.
    pub hook: Option<Hook>,
}

impl Loss {
    /// So many runs of a hook that the kernel skipped between these times, on whatever CPU.
    #[must_use]
    pub const fn of_hook(hook: Hook, runs: u64, from_ns: u64, to_ns: u64) -> Self {
        let skipped = Self::skipped(SkipRow::of(hook).ring, runs, from_ns, to_ns);
        Self { hook: Some(hook), ..skipped }
    }

    /// What it leaves in doubt, where the hook is told. Else it can be anything of its ring.
    #[must_use]
    pub fn affected(&self) -> Option<Affected> {
        self.hook.map(|hook| SkipRow::of(hook).affected)
    }

    /// So many records of a ring that were never written between these times, on whatever CPU.
    #[must_use]
    pub const fn skipped(ring: Ring, count: u64, from_ns: u64, to_ns: u64) -> Self {
        Self {
            cpu: None,
            ring,
            first: 0,
            last: count.saturating_sub(1),
            from_ns,
            to_ns,
            reason: Reason::Skipped,
            hook: None,
        }
    }

    /// How many records were lost.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Sequence number of the first.
    #[must_use]
    pub const fn first_seq(&self) -> u64 {
        self.ring.sequence(self.first)
    }

    /// Sequence number of the last.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.ring.sequence(self.last)
    }
}
