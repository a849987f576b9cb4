//! References that have ended: kept for a while, to tell a second free from a free of memory never seen.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range as Span,
};

use super::{
    pages::{Pages, page_of},
    reference::{Allocated, Closed, ClosedBy, whole_pages},
};

/// How long memory that was given back can still be set in the pool's bitmap: a free is recorded at its entry, and its
/// task can be preempted before the bits clear.
pub const GRACE_NS: u64 = 1_000_000_000;

/// Ended references that are kept per device.
pub(super) const MAX_CLOSED: usize = 16_384;
/// Spans of memory given back that are kept per device.
pub(super) const MAX_SPANS: usize = 65_536;
/// Frees within `pci_p2pmem_free_sgl` that can be on their way.
const MAX_NESTED: usize = 256;

/// The latest ended references, and the latest memory that was given back.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    closed: VecDeque<Closed>,
    /// How many have left `closed`.
    dropped: u32,
    /// The latest of `closed` by the page that it began at, counted from the first ever.
    by_page: Pages<u32>,
    /// The latest of each scatter list, by the same numbers.
    by_list: HashMap<u64, u32>,
    given_back: VecDeque<(u64, Span<u64>)>,
    /// When the latest of what there was no room for any more was given back.
    forgot_ns: Option<u64>,
    nested: VecDeque<(u32, Closed)>,
}

impl History {
    /// Remembers an ended reference; returns the one that is forgotten for it.
    pub(super) fn push(&mut self, closed: Closed) -> Option<Closed> {
        let number = self.dropped.wrapping_add(self.closed.len() as u32);
        if let Some(addr) = closed.reference.addr() {
            self.by_page.insert(page_of(addr), number);
        }
        if let Allocated::ScatterList { sgl, .. } = closed.reference.allocated {
            self.by_list.insert(sgl, number);
        }
        self.closed.push_back(closed);
        if self.closed.len() <= MAX_CLOSED {
            return None;
        }
        let oldest = self.closed.pop_front()?;
        if let Some(addr) = oldest.reference.addr() {
            self.by_page.remove_if(page_of(addr), self.dropped);
        }
        if let Allocated::ScatterList { sgl, .. } = oldest.reference.allocated
            && self.by_list.get(&sgl) == Some(&self.dropped)
        {
            self.by_list.remove(&sgl);
        }
        self.dropped = self.dropped.wrapping_add(1);
        Some(oldest)
    }

    /// The latest reference that was out at exactly this address and has ended.
    pub(super) fn find(&self, addr: u64) -> Option<&Closed> {
        let number = self.by_page.get(page_of(addr))?;
        let closed = self.closed.get(number.wrapping_sub(self.dropped) as usize)?;
        (closed.reference.addr() == Some(addr)).then_some(closed)
    }

    /// The latest that was this scatter list.
    pub(super) fn find_list(&self, sgl: u64) -> Option<&Closed> {
        let number = self.by_list.get(&sgl)?;
        self.closed.get(number.wrapping_sub(self.dropped) as usize)
    }

    /// Those that are kept, oldest first.
    #[cfg(test)]
    pub(super) fn closed(&self) -> impl DoubleEndedIterator<Item = &Closed> {
        self.closed.iter()
    }

    /// Memory was given back: its bits can still be set for a while.
    pub(super) fn give_back(&mut self, time_ns: u64, span: Span<u64>) {
        if span.is_empty() {
            return;
        }
        let old = time_ns.saturating_sub(2 * GRACE_NS);
        while self.given_back.len() >= MAX_SPANS {
            let forgotten = self.given_back.pop_front().map(|(then_ns, _)| then_ns);
            self.forgot_ns = self.forgot_ns.max(forgotten);
        }
        while self.given_back.front().is_some_and(|&(then, _)| then < old) {
            self.given_back.pop_front();
        }
        self.given_back.push_back((time_ns, span));
    }

    /// Some of what was given back since `since_ns` is forgotten.
    pub(super) fn has_forgotten(&self, since_ns: u64) -> bool {
        self.forgot_ns.is_some_and(|forgot_ns| forgot_ns >= since_ns)
    }

    /// Some references that have ended are not known any more.
    pub(super) const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// What was given back since `since_ns`.
    pub(super) fn given_back(&self, since_ns: u64) -> impl Iterator<Item = &Span<u64>> {
        // Not in order: page frees are told late.
        let recent = self.given_back.iter().filter(move |&&(then_ns, _)| then_ns >= since_ns);
        recent.map(|(_, span)| span)
    }

    /// A scatter list was freed by the thread `pid`: where `pci_free_p2pmem` is not inlined, a free of its memory by
    /// the same thread follows at once.
    pub(super) fn expect_nested(&mut self, pid: u32, closed: Closed) {
        if self.nested.len() == MAX_NESTED {
            self.nested.pop_front();
        }
        self.nested.push_back((pid, closed));
    }

    /// The scatter list that a free is part of, which is expected no longer.
    pub(super) fn take_nested(
        &mut self,
        pid: u32,
        addr: u64,
        size: Option<u64>,
        now_ns: u64,
    ) -> Option<Closed> {
        let of = |(freer, closed): &(u32, Closed)| {
            let Allocated::ScatterList { addr: known, size: allocated, .. } = closed.reference.allocated
            else {
                return false;
            };
            let same_size = size.is_none_or(|size| whole_pages(size) == whole_pages(allocated));
            *freer == pid
                && same_size
                && known.is_none_or(|known| known == addr)
                && now_ns.saturating_sub(closed.at.time_ns) <= GRACE_NS
                && closed.by == ClosedBy::SglFree
        };
        let place = self.nested.iter().rposition(of)?;
        self.nested.remove(place).map(|(_, closed)| closed)
    }
}
