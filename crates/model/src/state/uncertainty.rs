//! What losses leave unsure, and until when.

use p2p_trace_common::Ring;

use super::reference::At;

/// Records of one ring that can have been about a device were lost, and nothing has made up for it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertainty {
    /// The first time at which one can have been lost.
    pub since_ns: u64,
    /// The last. A pull read that began later makes up for it.
    pub until_ns: u64,
    /// How many.
    pub lost: u64,
    /// Of these, the ones that were there but could not be read, because a later version wrote them.
    pub unreadable: u64,
}

impl Uncertainty {
    /// One of them can have been lost between these times: from a first, which never came where there is none, to a last, or until
    /// now.
    pub(crate) fn overlaps(&self, from: Option<At>, to: Option<At>) -> bool {
        let began = from.is_some_and(|from| from.time_ns <= self.until_ns);
        began && to.is_none_or(|to| to.time_ns >= self.since_ns)
    }
}

/// Why a device's state is uncertain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncertainties {
    /// What is taken: allocations, frees, page frees and mmaps can be missing.
    pub hot: Option<Uncertainty>,
    /// Ranges and teardown: steps can be missing.
    pub rare: Option<Uncertainty>,
}

impl Uncertainties {
    /// Nothing is uncertain.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hot.is_none() && self.rare.is_none()
    }

    /// The ring's doubt grows.
    pub(super) fn add(&mut self, ring: Ring, new: Uncertainty) {
        let uncertainty = self.of(ring);
        *uncertainty = Some(uncertainty.map_or(new, |old| Uncertainty {
            since_ns: old.since_ns.min(new.since_ns),
            until_ns: old.until_ns.max(new.until_ns),
            lost: old.lost.saturating_add(new.lost),
            unreadable: old.unreadable.saturating_add(new.unreadable),
        }));
    }

    /// What was true at `time_ns` is known: only what was lost later is in doubt.
    pub(super) fn settle(&mut self, time_ns: u64) {
        for ring in Ring::ALL {
            self.settle_ring(ring, time_ns);
        }
    }

    /// The same for one ring.
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
