//! Allocated memory whose holder is unknown: it was allocated before the attach, or while records were lost.

use std::ops::Range as Span;

use rangemap::RangeMap;

use crate::event::decode::PAGE_SIZE;

/// A run of pre-existing memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Direct-map address.
    pub addr: u64,
    /// Size in bytes.
    pub size: u64,
    /// The `struct dev_pagemap` that it lies in, if known.
    pub pgmap: Option<u64>,
}

/// All pre-existing memory of a device, by direct-map address.
#[derive(Clone, Debug, Default)]
pub(super) struct Preexisting {
    runs: RangeMap<u64, Option<u64>>,
}

impl Preexisting {
    /// The runs, in order. Neighboring memory of one range is one run.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter().map(|(span, &pgmap)| run(span, pgmap))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Total bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.runs.iter().map(|(span, _)| span.end - span.start).sum()
    }

    /// The bytes of `span` that are pre-existing.
    pub(super) fn overlap(&self, span: &Span<u64>) -> u64 {
        self.within(span).map(|part| part.end - part.start).sum()
    }

    /// The parts of `span` that are pre-existing.
    pub(super) fn within<'a>(&'a self, span: &'a Span<u64>) -> impl Iterator<Item = Span<u64>> + 'a {
        let found = (!span.is_empty()).then(|| self.runs.overlapping(span));
        found.into_iter().flatten().map(|(run, _)| run.start.max(span.start)..run.end.min(span.end))
    }

    /// The minimum and maximum number of references that the memory in `span` can stand for: at least one per
    /// run, at most one per page.
    pub(super) fn references(&self, span: &Span<u64>) -> (u64, u64) {
        self.within(span).fold((0, 0), |(least, most), part| {
            (least + 1, most + (part.end - part.start).div_ceil(PAGE_SIZE))
        })
    }

    pub(super) fn insert(&mut self, span: Span<u64>, pgmap: Option<u64>) {
        if !span.is_empty() {
            self.runs.insert(span, pgmap);
        }
    }

    /// Removes `span`, and returns the number of removed bytes.
    pub(super) fn remove(&mut self, span: Span<u64>) -> u64 {
        if self.runs.is_empty() {
            return 0;
        }
        let bytes = self.overlap(&span);
        if bytes > 0 {
            self.runs.remove(span);
        }
        bytes
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

const fn run(span: &Span<u64>, pgmap: Option<u64>) -> Run {
    Run { addr: span.start, size: span.end - span.start, pgmap }
}
