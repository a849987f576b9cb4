//! The pages of user mappings. Each has one reference and is freed separately; they are stored in runs.

use std::ops::Range as Span;

use rangemap::RangeMap;

use super::history::GRACE_NS;

/// The reference that each outstanding page belongs to. Pages are numbered by their `struct page`
/// ([`super::Geometry::index`]).
#[derive(Clone, Debug, Default)]
pub(super) struct Mmaps {
    outstanding: RangeMap<u64, u32>,
    /// When the pool last allocated pages again whose free was not reported yet. Bursts of frees are reported
    /// late, and a page can be freed and allocated more than once in the meantime.
    expected: RangeMap<u64, u64>,
}

/// Above this number of runs, those whose frees must have been reported are dropped.
const MAX_EXPECTED: usize = 65_536;
/// Limit on the pieces into which one run of freed pages is split: more mappings than are likely, let alone
/// adjacent ones.
pub(super) const MAX_PIECES: usize = 1024;

/// The parts of `span` that are in `map`, with their values.
fn within<V: Copy + Eq>(map: &RangeMap<u64, V>, span: &Span<u64>) -> Vec<(Span<u64>, V)> {
    if span.is_empty() {
        return Vec::new();
    }
    map.overlapping(span)
        .map(|(part, &value)| (part.start.max(span.start)..part.end.min(span.end), value))
        .collect()
}

impl Mmaps {
    /// The part of a span, from its start, that has at most [`MAX_PIECES`] pieces.
    pub(super) fn part(&self, span: &Span<u64>) -> Span<u64> {
        if span.is_empty() {
            return span.clone();
        }
        let outstanding = self.outstanding.overlapping(span).nth(MAX_PIECES).map(|(beyond, _)| beyond.start);
        let expected = self.expected.overlapping(span).nth(MAX_PIECES).map(|(beyond, _)| beyond.start);
        span.start..outstanding.into_iter().chain(expected).fold(span.end, u64::min)
    }

    /// Returns whether no page is outstanding.
    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The outstanding parts of `span`, with their references.
    pub(super) fn outstanding(&self, span: &Span<u64>) -> Vec<(Span<u64>, u32)> {
        within(&self.outstanding, span)
    }

    /// All outstanding pages.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Span<u64>, u32)> {
        self.outstanding.iter().map(|(span, &key)| (span, key))
    }

    /// Adds allocated pages. They must not be outstanding: see [`Mmaps::remove`].
    pub(super) fn insert(&mut self, span: Span<u64>, key: u32) {
        if !span.is_empty() {
            self.outstanding.insert(span, key);
        }
    }

    /// Removes pages that are no longer outstanding.
    pub(super) fn remove(&mut self, span: Span<u64>) {
        if !span.is_empty() {
            self.outstanding.remove(span);
        }
    }

    /// Expects a late report of the free of pages that were allocated again at this time.
    pub(super) fn expect_free(&mut self, span: Span<u64>, time_ns: u64) {
        if span.is_empty() {
            return;
        }
        if self.expected.len() >= MAX_EXPECTED {
            self.forget_expected(time_ns.saturating_sub(2 * GRACE_NS));
        }
        self.expected.insert(span, time_ns);
    }

    /// The parts of `span` that were allocated again after `first_ns`: a free at that time was by an earlier
    /// holder.
    pub(super) fn settled(&self, span: &Span<u64>, first_ns: u64) -> Vec<Span<u64>> {
        within(&self.expected, span)
            .into_iter()
            .filter(|&(_, again_ns)| again_ns >= first_ns)
            .map(|(part, _)| part)
            .collect()
    }

    /// All frees up to `time_ns` have been reported: earlier ones are no longer expected.
    pub(super) fn forget_expected(&mut self, time_ns: u64) {
        let old: Vec<_> = self
            .expected
            .iter()
            .filter(|&(_, &again_ns)| again_ns < time_ns)
            .map(|(span, _)| span.clone())
            .collect();
        for span in old {
            self.expected.remove(span);
        }
    }

    pub(super) fn clear(&mut self) {
        self.outstanding.clear();
        self.expected.clear();
    }
}
