//! Recently ended references, kept to distinguish a second free from a free of unknown memory.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range as Span,
};

use super::{
    pages::{Pages, page_of},
    reference::{Allocated, Closed, ClosedBy, whole_pages},
};

/// How long freed memory may still be set in the pool's bitmap. A free is recorded at its entry, and its task
/// can be preempted before the bits are cleared.
pub const GRACE_NS: u64 = 1_000_000_000;

/// Limit on the ended references kept per device.
pub(super) const MAX_CLOSED: usize = 16_384;
/// Limit on the freed spans kept per device.
pub(super) const MAX_SPANS: usize = 65_536;
/// Limit on the expected frees within `pci_p2pmem_free_sgl`.
const MAX_NESTED: usize = 256;

/// The latest ended references, and recently freed memory.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    closed: VecDeque<Closed>,
    /// Number of references dropped from `closed`.
    dropped: u32,
    /// The latest reference in `closed` by the page that it started at, as an index counted from the first
    /// ever.
    by_page: Pages<u32>,
    /// The latest reference of each scatter list, with the same indexes.
    by_list: HashMap<u64, u32>,
    recently_freed: VecDeque<(u64, Span<u64>)>,
    /// When the latest span that was dropped because of the limit was freed.
    forgot_ns: Option<u64>,
    nested: VecDeque<(u32, Closed)>,
}

impl History {
    /// Adds an ended reference, and returns the one that is dropped for it.
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

    /// The latest ended reference at exactly this address.
    pub(super) fn find(&self, addr: u64) -> Option<&Closed> {
        let number = self.by_page.get(page_of(addr))?;
        let closed = self.closed.get(number.wrapping_sub(self.dropped) as usize)?;
        (closed.reference.addr() == Some(addr)).then_some(closed)
    }

    /// The latest ended reference of this scatter list.
    pub(super) fn find_list(&self, sgl: u64) -> Option<&Closed> {
        let number = self.by_list.get(&sgl)?;
        self.closed.get(number.wrapping_sub(self.dropped) as usize)
    }

    /// The ended references kept, oldest first.
    #[cfg(test)]
    pub(super) fn closed(&self) -> impl DoubleEndedIterator<Item = &Closed> {
        self.closed.iter()
    }

    /// Records that memory was freed. Its bits may still be set for a while.
    pub(super) fn note_freed(&mut self, time_ns: u64, span: Span<u64>) {
        if span.is_empty() {
            return;
        }
        let old = time_ns.saturating_sub(2 * GRACE_NS);
        while self.recently_freed.len() >= MAX_SPANS {
            let forgotten = self.recently_freed.pop_front().map(|(then_ns, _)| then_ns);
            self.forgot_ns = self.forgot_ns.max(forgotten);
        }
        while self.recently_freed.front().is_some_and(|&(then, _)| then < old) {
            self.recently_freed.pop_front();
        }
        self.recently_freed.push_back((time_ns, span));
    }

    /// Whether a span freed since `since_ns` may have been dropped.
    pub(super) fn has_forgotten(&self, since_ns: u64) -> bool {
        self.forgot_ns.is_some_and(|forgot_ns| forgot_ns >= since_ns)
    }

    /// Whether an ended reference has been dropped.
    pub(super) const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// The spans freed since `since_ns`.
    pub(super) fn recently_freed(&self, since_ns: u64) -> impl Iterator<Item = &Span<u64>> {
        // Not sorted, because page frees are reported late.
        let recent = self.recently_freed.iter().filter(move |&&(then_ns, _)| then_ns >= since_ns);
        recent.map(|(_, span)| span)
    }

    /// The thread `pid` freed a scatter list. If `pci_free_p2pmem` is not inlined, a free of its
    /// memory by the same thread follows immediately.
    pub(super) fn expect_nested(&mut self, pid: u32, closed: Closed) {
        if self.nested.len() == MAX_NESTED {
            self.nested.pop_front();
        }
        self.nested.push_back((pid, closed));
    }

    /// Returns the scatter list that a free belongs to, and no longer expects that free.
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
