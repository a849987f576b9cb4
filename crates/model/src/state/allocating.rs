//! Allocations from the pool.

use super::{
    change::ChangeKind,
    ledger::{Context, Ledger},
    ranges::Ranges,
    reference::{Allocated, ClosedBy, Key, NO_RANGE, Reference, span_of, whole_pages},
};
use crate::event::Event;

/// Number of recent allocations searched for the one of a scatter list. It is the latest of its thread, so
/// this is more than the number of threads in `pci_p2pmem_alloc_sgl` at one time.
const MAX_RECENT: usize = 256;

impl Ledger {
    /// `pci_alloc_p2pmem` returned memory.
    pub(super) fn alloc(&mut self, event: &Event, ranges: &Ranges, context: &mut Context<'_>) {
        let Some((addr, size)) = event.addr.zip(event.size) else {
            return;
        };
        let span = span_of(addr, size);
        if span.is_empty() {
            return;
        }
        // The pool allocates only free memory, so any memory known to be allocated here was freed.
        for key in self.owners(&span) {
            self.cut(key, &span, ClosedBy::Reused, context);
        }
        self.reuse_preexisting(&span, context);
        if !self.mmaps.is_empty()
            && let Some(indices) = context.geometry.indices(&span)
        {
            self.reuse_pages(&indices, context);
        }
        let generation = ranges.at(addr).map_or(NO_RANGE, |range| range.id.generation);
        let key = self.enter(event, Allocated::Allocation { addr, size }, generation, context);
        if event.flag == Some(true) {
            // In a checkpoint: the rest of an allocation that was partially freed.
            self.change(key, |reference| reference.partial = true);
        }
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((pid_of(event), key));
    }

    /// `pci_p2pmem_alloc_sgl` returned a list. Its memory is the latest allocation of the same thread: the
    /// list's call makes that allocation, which is seen first.
    pub(super) fn alloc_list(&mut self, event: &Event, context: &mut Context<'_>) {
        let Some(sgl) = event.sgl else { return };
        if let Some(&key) = self.lists.get(&sgl) {
            self.close(key, ClosedBy::Reused, context);
        }
        let entries = event.count;
        let Some((key, addr, size)) = self.nested(event) else {
            let size = event.size.unwrap_or(0);
            let allocated = Allocated::ScatterList { sgl, addr: None, size, entries };
            self.enter(event, allocated, NO_RANGE, context);
            return;
        };
        let origin = self.origins.enter(event);
        let mut inner = origin;
        self.change(key, |reference| {
            reference.allocated = Allocated::ScatterList { sgl, addr: Some(addr), size, entries };
            inner = std::mem::replace(&mut reference.origin, origin);
        });
        self.note(origin, key);
        // The caller of the list says more than the caller of its memory, which is the list function itself.
        self.origins.leave(inner);
        context.report(ChangeKind::Linked(Key(key)));
    }

    fn nested(&mut self, event: &Event) -> Option<(u32, u64, u64)> {
        let pid = pid_of(event);
        let place = self.recent.iter().rposition(|&(of, _)| of == pid)?;
        let (_, key) = self.recent.remove(place)?;
        let reference = self.get(key).filter(|reference| reference.pid == pid)?;
        match reference.allocated {
            Allocated::Allocation { addr, size } if !reference.partial => {
                let fits = event.size.is_none_or(|requested| whole_pages(requested) == whole_pages(size));
                fits.then_some((key, addr, size))
            }
            _ => None,
        }
    }

    /// `p2pmem_alloc_mmap` returned. The pages that it inserted are outstanding, whether it succeeded or not.
    pub(super) fn mmap(&mut self, event: &Event, generation: u32, context: &mut Context<'_>) {
        let Some((page, pages)) = event.page.zip(event.count.filter(|&pages| pages > 0)) else {
            return;
        };
        let first = context.geometry.index(page);
        let Some(end) = first.checked_add(u64::from(pages)) else {
            return;
        };
        self.reuse_pages(&(first..end), context);
        if let Some(span) = context.geometry.span(&(first..end)) {
            for key in self.owners(&span) {
                self.cut(key, &span, ClosedBy::Reused, context);
            }
            self.reuse_preexisting(&span, context);
        }
        let allocated = Allocated::Mmap { page, user_addr: event.user_addr, pages, outstanding: pages };
        let key = self.enter(event, allocated, generation, context);
        self.mmaps.insert(first..end, key);
    }

    /// Memory of unknown holders is allocated again. If it belonged to a user mapping, its free is yet to be
    /// reported.
    fn reuse_preexisting(&mut self, span: &std::ops::Range<u64>, context: &Context<'_>) {
        if self.preexisting.is_empty() {
            return;
        }
        let parts: Vec<_> = self.preexisting.within(span).collect();
        for part in parts {
            match context.geometry.indices(&part) {
                Some(indices) => self.mmaps.expect_free(indices, context.at.time_ns),
                None => self.reused_unplaced_ns = Some(context.at.time_ns),
            }
        }
        self.preexisting.remove(span.clone());
    }

    /// Pages known to be outstanding are allocated again. Their free is yet to be reported, unless it was
    /// lost.
    fn reuse_pages(&mut self, indices: &std::ops::Range<u64>, context: &mut Context<'_>) {
        for (part, key) in self.mmaps.outstanding(indices) {
            self.mmaps.expect_free(part.clone(), context.at.time_ns);
            self.cut_pages(part, key, ClosedBy::Reused, context);
        }
    }

    fn enter(
        &mut self,
        event: &Event,
        allocated: Allocated,
        generation: u32,
        context: &mut Context<'_>,
    ) -> u32 {
        let key = self.insert_new(event, allocated, generation, context);
        context.report(ChangeKind::Allocated(Key(key)));
        key
    }

    fn insert_new(
        &mut self,
        event: &Event,
        allocated: Allocated,
        generation: u32,
        context: &Context<'_>,
    ) -> u32 {
        let origin = self.origins.enter(event);
        self.insert(Reference {
            allocated,
            at: context.at,
            partial: false,
            generation,
            pid: pid_of(event),
            origin,
        })
    }
}

/// The thread id, or 0 if unknown.
pub(super) fn pid_of(event: &Event) -> u32 {
    event.task.map_or(0, |task| task.pid)
}
