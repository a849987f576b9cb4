//! The pages of user mappings: one reference each, given back on their own, in runs.

use std::ops::Range as Span;

use rangemap::RangeMap;

use super::history::GRACE_NS;

/// Which reference each page that is out belongs to. Pages are numbered by their `struct page`
/// ([`super::Geometry::index`]).
#[derive(Clone, Debug, Default)]
pub(super) struct Mmaps {
    out: RangeMap<u64, u32>,
    /// When the pool gave pages out again, latest, of which a free was still to be told: bursts of frees are told late,
    /// and the same page can go round more than once meanwhile.
    owed: RangeMap<u64, u64>,
}

/// Runs of pages beyond which those are dropped whose frees must have been told.
const MAX_OWED: usize = 65_536;
/// Pieces that one run of freed pages is looked for in: as many mappings as there hardly are, let alone side by side.
pub(super) const MAX_PIECES: usize = 1024;

/// The parts of `span` that `map` has, with their values.
fn within<V: Copy + Eq>(map: &RangeMap<u64, V>, span: &Span<u64>) -> Vec<(Span<u64>, V)> {
    if span.is_empty() {
        return Vec::new();
    }
    map.overlapping(span)
        .map(|(part, &value)| (part.start.max(span.start)..part.end.min(span.end), value))
        .collect()
}

impl Mmaps {
    /// The part of a span, from its beginning on, that has no more than [`MAX_PIECES`] pieces.
    pub(super) fn part(&self, span: &Span<u64>) -> Span<u64> {
        if span.is_empty() {
            return span.clone();
        }
        let out = self.out.overlapping(span).nth(MAX_PIECES).map(|(beyond, _)| beyond.start);
        let owed = self.owed.overlapping(span).nth(MAX_PIECES).map(|(beyond, _)| beyond.start);
        span.start..out.into_iter().chain(owed).fold(span.end, u64::min)
    }

    /// Pages that are out.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The parts of `span` that are out, with the reference that they belong to.
    pub(super) fn out(&self, span: &Span<u64>) -> Vec<(Span<u64>, u32)> {
        within(&self.out, span)
    }

    /// All that is out.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Span<u64>, u32)> {
        self.out.iter().map(|(span, &key)| (span, key))
    }

    /// Pages were taken. They must not be out: see [`Mmaps::give_back`].
    pub(super) fn take(&mut self, span: Span<u64>, key: u32) {
        if !span.is_empty() {
            self.out.insert(span, key);
        }
    }

    /// Pages are not out any more.
    pub(super) fn give_back(&mut self, span: Span<u64>) {
        if !span.is_empty() {
            self.out.remove(span);
        }
    }

    /// Their free is still to be told; they were given out again at this time.
    pub(super) fn owe(&mut self, span: Span<u64>, time_ns: u64) {
        if span.is_empty() {
            return;
        }
        if self.owed.len() >= MAX_OWED {
            self.forgive(time_ns.saturating_sub(2 * GRACE_NS));
        }
        self.owed.insert(span, time_ns);
    }

    /// The parts of `span` that were given out again after `first_ns`: a free of then was that of an earlier holder.
    pub(super) fn settled(&self, span: &Span<u64>, first_ns: u64) -> Vec<Span<u64>> {
        within(&self.owed, span)
            .into_iter()
            .filter(|&(_, again_ns)| again_ns >= first_ns)
            .map(|(part, _)| part)
            .collect()
    }

    /// Every free up to `time_ns` was told: what is owed from before is owed no more.
    pub(super) fn forgive(&mut self, time_ns: u64) {
        let old: Vec<_> = self
            .owed
            .iter()
            .filter(|&(_, &again_ns)| again_ns < time_ns)
            .map(|(span, _)| span.clone())
            .collect();
        for span in old {
            self.owed.remove(span);
        }
    }

    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.owed.clear();
    }
}
