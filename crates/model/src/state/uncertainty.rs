//! The state that losses leave uncertain, and until when.

use p2p_trace_common::Ring;

use super::reference::At;

/// Lost records of one ring that may concern a device, and that nothing has settled since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertainty {
    /// The earliest time at which a record may have been lost.
    pub since_ns: u64,
    /// The latest time. A snapshot that began later settles it.
    pub until_ns: u64,
    /// The number of records.
    pub lost: u64,
    /// Of these, records that arrived but could not be read, because a later version wrote them.
    pub unreadable: u64,
}

impl Uncertainty {
    /// Whether a record may have been lost between `from` and `to`. Without `from`, that time has not begun;
    /// without `to`, it lasts until now.
    pub(crate) fn overlaps(&self, from: Option<At>, to: Option<At>) -> bool {
        let began = from.is_some_and(|from| from.time_ns <= self.until_ns);
        began && to.is_none_or(|to| to.time_ns >= self.since_ns)
    }
}

/// Why a device's state is uncertain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncertainties {
    /// Allocated memory: allocations, frees, page frees, and mmaps may be missing.
    pub hot: Option<Uncertainty>,
    /// Ranges and teardowns: steps may be missing.
    pub rare: Option<Uncertainty>,
}

impl Uncertainties {
    /// Nothing is uncertain.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hot.is_none() && self.rare.is_none()
    }

    /// Adds to the uncertainty of a ring.
    pub(super) fn add(&mut self, ring: Ring, new: Uncertainty) {
        let uncertainty = self.of(ring);
        *uncertainty = Some(uncertainty.map_or(new, |old| Uncertainty {
            since_ns: old.since_ns.min(new.since_ns),
            until_ns: old.until_ns.max(new.until_ns),
            lost: old.lost.saturating_add(new.lost),
            unreadable: old.unreadable.saturating_add(new.unreadable),
        }));
    }

    /// The state at `time_ns` is known: only later losses remain.
    pub(super) fn settle(&mut self, time_ns: u64) {
        for ring in Ring::ALL {
            self.settle_ring(ring, time_ns);
        }
    }

    /// Like [`Self::settle`], for one ring.
    pub(super) fn settle_ring(&mut self, ring: Ring, time_ns: u64) {
        let uncertainty = self.of(ring);
        *uncertainty = uncertainty.filter(|uncertainty| uncertainty.until_ns >= time_ns);
    }

    const fn of(&mut self, ring: Ring) -> &mut Option<Uncertainty> {
        match ring {
            Ring::Hot => &mut self.hot,
            Ring::Rare => &mut self.rare,
        }
    }
}
