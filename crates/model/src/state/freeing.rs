//! Frees to the pool.

use std::{cmp::Ordering, ops::Range as Span};

use super::{
    allocating::pid_of,
    change::{ChangeKind, FreeMatch, PageMatch},
    ledger::{Context, Ledger},
    limit::Limit,
    reference::{ClosedBy, span_of, whole_pages},
};
use crate::event::Event;

impl Ledger {
    /// `pci_free_p2pmem` was entered.
    pub(super) fn free(&mut self, event: &Event, context: &mut Context<'_>) {
        let matched = match event.addr {
            Some(addr) => self.match_free(event, addr, context),
            None => FreeMatch::Unmatched,
        };
        self.report_freed(matched, context);
    }

    /// An unmatched free may be a second free of a reference that is no longer known.
    fn report_freed(&self, matched: FreeMatch, context: &mut Context<'_>) {
        if matched == FreeMatch::Unmatched && self.history.has_dropped() {
            context.report(ChangeKind::Reached(Limit::EndedReferences));
        }
        context.report(ChangeKind::Freed(matched));
    }

    fn match_free(&mut self, event: &Event, addr: u64, context: &mut Context<'_>) -> FreeMatch {
        let size = event.size;
        if let Some(matched) = self.free_live(addr, size, context) {
            return matched;
        }
        if let Some(closed) = self.history.take_nested(pid_of(event), addr, size, context.at.time_ns) {
            return FreeMatch::OfScatterList(closed);
        }
        let span = span_of(addr, size.unwrap_or(1));
        let bytes = self.preexisting.remove(span.clone());
        if bytes > 0 {
            self.history.note_freed(context.at.time_ns, span.clone());
            return FreeMatch::Preexisting { bytes, freed: span.end - span.start };
        }
        match self.history.find(addr) {
            Some(&earlier) => FreeMatch::Again { earlier },
            None => FreeMatch::Unmatched,
        }
    }

    fn free_live(&mut self, addr: u64, size: Option<u64>, context: &mut Context<'_>) -> Option<FreeMatch> {
        let key = self.owner(addr)?;
        let before = *self.get(key)?;
        let whole = before.span()?;
        let freed = size.map_or_else(|| before.bytes(), whole_pages);
        let begins = span_of(addr, 1).start == whole.start;
        match freed.cmp(&before.bytes()) {
            Ordering::Equal if begins => self.close(key, ClosedBy::Free, context).map(FreeMatch::Exact),
            Ordering::Greater if begins => {
                let closed = self.close(key, ClosedBy::Free, context)?;
                Some(FreeMatch::TooLarge { closed, freed })
            }
            _ => {
                let start = span_of(addr, 1).start;
                let span = start..start.saturating_add(freed).min(whole.end);
                // Even a free of unknown memory drops the reference.
                self.change(key, |reference| reference.partial = true);
                self.cut(key, &span, ClosedBy::Free, context);
                Some(FreeMatch::Partial { before, freed })
            }
        }
    }

    /// `pci_p2pmem_free_sgl` was entered. If the free of its memory is not inlined, that free's own record
    /// follows.
    pub(super) fn free_list(&mut self, event: &Event, context: &mut Context<'_>) {
        let known = event.sgl.and_then(|sgl| self.lists.get(&sgl).copied());
        let closed = known.and_then(|key| self.close(key, ClosedBy::SglFree, context));
        let matched = match (closed, event.sgl) {
            (Some(closed), _) => {
                self.history.expect_nested(pid_of(event), closed);
                FreeMatch::Exact(closed)
            }
            (None, Some(sgl)) => self.earlier_list(sgl),
            (None, None) => FreeMatch::Unmatched,
        };
        self.report_freed(matched, context);
    }

    fn earlier_list(&self, wanted: u64) -> FreeMatch {
        match self.history.find_list(wanted) {
            Some(&earlier) => FreeMatch::Again { earlier },
            None => FreeMatch::Unmatched,
        }
    }

    /// A run of pages of user mappings was freed. The record may be late: the pool may have allocated them
    /// again.
    pub(super) fn free_pages(&mut self, event: &Event, context: &mut Context<'_>) {
        let Some((page, count)) = event.page.zip(event.count.filter(|&count| count > 0)) else {
            return;
        };
        let first = context.geometry.index(page);
        let whole = first..first.saturating_add(u64::from(count));
        let all = self.mmaps.part(&whole);
        let (first_ns, last_ns) =
            event.span.map_or((context.at.time_ns, context.at.time_ns), |span| (span.first_ns, span.last_ns));
        if let Some(span) = context.geometry.span(&whole) {
            self.history.note_freed(last_ns, span);
        }
        let mut matched = PageMatch::default();
        if all.end < whole.end {
            // The pages after it are not classified.
            matched.explained += pages(&(all.end..whole.end));
            context.report(ChangeKind::Reached(Limit::Pieces));
        }
        let settled = self.mmaps.settled(&all, first_ns);
        matched.explained += settled.iter().map(pages).sum::<u32>();
        let mut left = Vec::new();
        for span in gaps(&all, &settled) {
            let outstanding = self.mmaps.outstanding(&span);
            let parts: Vec<_> = outstanding.iter().map(|(part, _)| part.clone()).collect();
            left.extend(gaps(&span, &parts));
            for (part, key) in outstanding {
                let younger = self.get(key).is_some_and(|reference| reference.at.time_ns > last_ns);
                if younger {
                    matched.explained += pages(&part);
                } else {
                    matched.matched += pages(&part);
                    self.cut_pages(part, key, ClosedBy::PageFree, context);
                }
            }
        }
        for part in left {
            self.free_unknown(&part, &mut matched, context);
        }
        if matched.unmatched > 0 {
            matched.unplaced |= self.reused_unplaced_ns.is_some_and(|again_ns| again_ns >= first_ns);
        }
        context.report(ChangeKind::PagesFreed(matched));
    }

    /// Pages that belong to no known mmap.
    fn free_unknown(&mut self, part: &Span<u64>, matched: &mut PageMatch, context: &Context<'_>) {
        let Some(span) = context.geometry.span(part) else {
            matched.unplaced = true;
            matched.unmatched += pages(part);
            return;
        };
        let known = (self.preexisting.remove(span) / crate::event::decode::PAGE_SIZE) as u32;
        matched.preexisting += known;
        matched.unmatched += pages(part).saturating_sub(known);
    }
}

const fn pages(part: &Span<u64>) -> u32 {
    (part.end - part.start) as u32
}

/// The parts of `whole` that are not in `parts`, which lie within it, sorted and disjoint.
pub(super) fn gaps(whole: &Span<u64>, parts: &[Span<u64>]) -> Vec<Span<u64>> {
    let starts = std::iter::once(whole.start).chain(parts.iter().map(|part| part.end));
    let ends = parts.iter().map(|part| part.start).chain([whole.end]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|gap| !gap.is_empty()).collect()
}
