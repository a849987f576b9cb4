//! The ranges of a device: those in use, and those that ended and still matter.

use std::{collections::VecDeque, ops::Range as Span};

use super::{
    geometry::Geometry,
    range::{Range, RangeId, Stage},
    reference::At,
};
use crate::event;

/// Ended ranges that are kept per device.
pub(super) const MAX_ENDED: usize = 16;

/// Ranges that are kept per device: twice those of a device that has many.
pub(super) const MAX_RANGES: usize = 128;

/// In the order in which they were seen first.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    ranges: VecDeque<Range>,
    next: u32,
}

impl Ranges {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Range> {
        self.ranges.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Range> {
        self.ranges.iter_mut()
    }

    pub(super) fn get(&self, generation: u32) -> Option<&Range> {
        let place = self.place_of(generation)?;
        self.ranges.get(place)
    }

    pub(super) fn get_mut(&mut self, generation: u32) -> Option<&mut Range> {
        let place = self.place_of(generation)?;
        self.ranges.get_mut(place)
    }

    /// Later ones have higher numbers: they are in order.
    fn place_of(&self, generation: u32) -> Option<usize> {
        self.ranges.binary_search_by_key(&generation, |range| range.id.generation).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Makes room for another one where there is none: gives whether one that is in use or has memory out had to be forgotten.
    pub(super) fn make_room(&mut self) -> bool {
        if self.ranges.len() < MAX_RANGES {
            return false;
        }
        let is_over = |range: &Range| range.stage() == Stage::Released;
        let oldest = self.ranges.iter().position(is_over).unwrap_or_default();
        self.ranges.remove(oldest);
        true
    }

    /// The one of this pgmap that is not over.
    pub(super) fn current(&self, pgmap: u64) -> Option<&Range> {
        self.not_over().find(|range| range.id.pgmap == pgmap)
    }

    /// Those that are not over, the latest first.
    pub(super) fn not_over(&self) -> impl Iterator<Item = &Range> {
        self.iter().rev().filter(|range| range.stage() < Stage::Released)
    }

    /// The one, not over, in which the memory at this direct-map address lies.
    pub(super) fn at(&self, addr: u64) -> Option<&Range> {
        self.not_over().find(|range| range.contains(addr))
    }

    /// A new one of this pgmap.
    pub(super) fn add(&mut self, pgmap: u64, seen: At) -> RangeId {
        let id = RangeId { pgmap, generation: self.next };
        // No range is ever of the last number, which stands for none.
        self.next = self.next.saturating_add(1);
        self.ranges.push_back(Range::new(id, seen));
        id
    }

    /// Forgets the oldest ended ones for which `is_used` is false; gives whether one of them may matter still: it was removed, and no
    /// later one lies in its place.
    pub(super) fn prune(&mut self, is_used: impl Fn(u32) -> bool) -> bool {
        let over = |range: &Range| range.stage() == Stage::Released && !is_used(range.id.generation);
        let mut excess = self.ranges.iter().filter(|range| over(range)).count().saturating_sub(MAX_ENDED);
        if excess == 0 {
            return false;
        }
        let mut matters = false;
        let places: Vec<_> = self.ranges.iter().map(|range| (range.id.generation, range.span())).collect();
        let is_replaced = |range: &Range| {
            let Some(span) = range.span() else { return true };
            let mut later = places.iter().filter(|(generation, _)| *generation > range.id.generation);
            later.any(|(_, other)| {
                other.as_ref().is_some_and(|other| other.start <= span.start && other.end >= span.end)
            })
        };
        self.ranges.retain(|range| {
            let drop = excess > 0 && over(range);
            excess -= usize::from(drop);
            matters |= drop && range.steps.removed.is_some() && !is_replaced(range);
            !drop
        });
        matters
    }
}

impl Range {
    /// Where it lies, as far as this record tells it.
    pub(super) fn place(
        &mut self,
        physical: Option<event::Range>,
        base: Option<u64>,
        geometry: &mut Geometry,
    ) {
        self.physical = self.physical.or_else(|| physical.filter(|range| range.size() > 0));
        if let Some((base, physical)) = base.zip(self.physical) {
            geometry.learn_range(base, physical);
        }
        let deduced = self.physical.and_then(|physical| geometry.base_of(physical));
        self.base = self.base.or(base).or(deduced);
    }

    /// Where it lies in the direct map.
    pub(super) fn span(&self) -> Option<Span<u64>> {
        let base = self.base?;
        Some(base..base.checked_add(self.size()?)?)
    }
}
