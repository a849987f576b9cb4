//! The ranges of a device: those in use, and ended ones that still matter.

use std::{collections::VecDeque, ops::Range as Span};

use super::{
    geometry::Geometry,
    range::{Range, RangeId, Stage},
    reference::At,
};
use crate::event;

/// Limit on the ended ranges kept per device.
pub(super) const MAX_ENDED: usize = 16;

/// Limit on the ranges kept per device: twice the number of a device that has many.
pub(super) const MAX_RANGES: usize = 128;

/// In the order in which they were first seen.
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

    /// Later ranges have higher generations, so they are sorted.
    fn place_of(&self, generation: u32) -> Option<usize> {
        self.ranges.binary_search_by_key(&generation, |range| range.id.generation).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Makes room for another range. Returns whether a range that is in use or has outstanding memory had to
    /// be dropped.
    pub(super) fn make_room(&mut self) -> bool {
        if self.ranges.len() < MAX_RANGES {
            return false;
        }
        let is_over = |range: &Range| range.stage() == Stage::Released;
        let oldest = self.ranges.iter().position(is_over).unwrap_or_default();
        self.ranges.remove(oldest);
        true
    }

    /// The range of this pgmap that is not over.
    pub(super) fn current(&self, pgmap: u64) -> Option<&Range> {
        self.not_over().find(|range| range.id.pgmap == pgmap)
    }

    /// The ranges that are not over, the latest first.
    pub(super) fn not_over(&self) -> impl Iterator<Item = &Range> {
        self.iter().rev().filter(|range| range.stage() < Stage::Released)
    }

    /// The range that contains this direct-map address and is not over.
    pub(super) fn at(&self, addr: u64) -> Option<&Range> {
        self.not_over().find(|range| range.contains(addr))
    }

    /// Adds a range of this pgmap.
    pub(super) fn add(&mut self, pgmap: u64, seen: At) -> RangeId {
        let id = RangeId { pgmap, generation: self.next };
        // No range ever has the last generation, which stands for no range.
        self.next = self.next.saturating_add(1);
        self.ranges.push_back(Range::new(id, seen));
        id
    }

    /// Drops the oldest ended ranges for which `is_used` is false. Returns whether a dropped one may still
    /// matter: it was removed, and no later range lies in its place.
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
    /// Records the location of a range, as far as this record has it.
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

    /// The span in the direct map.
    pub(super) fn span(&self) -> Option<Span<u64>> {
        let base = self.base?;
        Some(base..base.checked_add(self.size()?)?)
    }
}
