//! Memory that is taken, and nobody saw by whom: from before the attach, or while records were lost.

use std::ops::Range as Span;

use rangemap::RangeMap;

use crate::event::decode::PAGE_SIZE;

/// A run of such memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Direct-map address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// The `struct dev_pagemap` that it lies in, where that is known.
    pub pgmap: Option<u64>,
}

/// All of a device's, by direct-map address.
#[derive(Clone, Debug, Default)]
pub(super) struct Preexisting {
    runs: RangeMap<u64, Option<u64>>,
}

impl Preexisting {
    /// The runs, in order; neighbours of one range are one run.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter().map(|(span, &pgmap)| run(span, pgmap))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.runs.iter().map(|(span, _)| span.end - span.start).sum()
    }

    /// Bytes of `span` that are in it.
    pub(super) fn overlap(&self, span: &Span<u64>) -> u64 {
        self.within(span).map(|part| part.end - part.start).sum()
    }

    /// The parts of `span` that are in it.
    pub(super) fn within<'a>(&'a self, span: &'a Span<u64>) -> impl Iterator<Item = Span<u64>> + 'a {
        let found = (!span.is_empty()).then(|| self.runs.overlapping(span));
        found.into_iter().flatten().map(|(run, _)| run.start.max(span.start)..run.end.min(span.end))
    }

    /// The least and the most references that what lies in `span` can stand for: each run at least one, each page at
    /// most one.
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

    /// Takes `span` out, and returns how many bytes of it were in.
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
