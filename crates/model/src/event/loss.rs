//! Lost records: ring positions that were claimed but not delivered, and records that were never written.

use p2p_trace_common::{Hook, Ring};

use super::skips::{Affected, SkipRow};

/// Why a record was lost.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Overwritten by newer records before it was read.
    Overwritten = 1,
    /// Abandoned: its producer was interrupted and did not finish in time.
    Abandoned = 2,
    /// Corrupt: its slot held other data.
    Corrupt = 3,
    /// Skipped: it was never written, because the kernel did not run the program while another one was
    /// running on that CPU, or the program could not number the record. Positions are meaningless; only the
    /// count is valid.
    Skipped = 4,
    /// Delivered but not recorded, because the recorder's disk was too slow.
    Unrecorded = 5,
    /// Recorded, but damaged or missing in the dump. Positions are meaningless; only the count is valid.
    Damaged = 6,
    /// Written, but absent from the memory dump of the crashed kernel.
    Absent = 7,
}

impl Reason {
    /// All reasons.
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
    #[must_use]
    pub const fn name(self) -> &'static str {
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

    /// Returns the reason with this number.
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

/// Consecutive positions of one ring, lost for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// CPU that lost them, or the lowest of those that write into that ring. `None` if unknown.
    pub cpu: Option<u32>,
    /// The ring.
    pub ring: Ring,
    /// First position lost.
    pub first: u64,
    /// Last position lost.
    pub last: u64,
    /// No lost record was begun before this time.
    pub from_ns: u64,
    /// All lost records were begun by this time.
    pub to_ns: u64,
    /// The reason.
    pub reason: Reason,
    /// The hook whose runs were skipped. `None` if unknown, or for any other reason.
    pub hook: Option<Hook>,
}

impl Loss {
    /// Creates a loss of `runs` runs of a hook that the kernel skipped between these times, on an unknown
    /// CPU.
    #[must_use]
    pub const fn of_hook(hook: Hook, runs: u64, from_ns: u64, to_ns: u64) -> Self {
        let skipped = Self::skipped(SkipRow::of(hook).ring, runs, from_ns, to_ns);
        Self { hook: Some(hook), ..skipped }
    }

    /// The knowledge that the loss leaves uncertain, if the hook is known. Otherwise it may be anything in its ring.
    #[must_use]
    pub fn affected(&self) -> Option<Affected> {
        self.hook.map(|hook| SkipRow::of(hook).affected)
    }

    /// Creates a loss of `count` records of a ring that were never written between these times, on an unknown
    /// CPU.
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

    /// The number of lost records.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Sequence number of the first lost record.
    #[must_use]
    pub const fn first_seq(&self) -> u64 {
        self.ring.sequence(self.first)
    }

    /// Sequence number of the last lost record.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.ring.sequence(self.last)
    }
}
