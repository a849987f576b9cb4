//! Which references a checkpoint has room for: the largest.

use p2p_trace_model::{
    event::decode::PAGE_SIZE,
    state::{Allocated, Device, Model, Reference, whole_pages},
};

/// Pieces of taken memory that a capped checkpoint tells by their place for each reference that it may tell in full.
const RUNS: usize = 2;

/// Lets through the largest of what it was made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    /// Bytes of the smallest that goes through; 0: all go.
    least: u64,
    /// How many of exactly that size do.
    ties: usize,
    omitted: u64,
    /// How many were asked for.
    limit: usize,
}

impl Cap {
    /// For the references of a model, of which so many may be told.
    pub(super) fn of(model: &Model, limit: usize) -> Self {
        let all = Self { least: 0, ties: usize::MAX, omitted: 0, limit };
        let count: usize = model.devices().map(Device::reference_count).sum();
        // A piece of an mmap is told by itself: only with them it is known how many there are.
        if count == 0 || limit == usize::MAX {
            return all;
        }
        let mut sizes: Vec<u64> = Vec::with_capacity(count);
        for device in model.devices() {
            sizes.extend(device.references().filter_map(|(_, reference)| size(reference)));
            let pieces = device.mmap_pages();
            sizes.extend(pieces.map(|(pages, _)| bytes_of(&pages)));
        }
        if sizes.len() <= limit {
            return all;
        }
        let omitted = (sizes.len() - limit) as u64;
        let Some(last) = limit.checked_sub(1) else {
            return Self { least: u64::MAX, ties: 0, omitted, limit };
        };
        let (larger, least, _) = sizes.select_nth_unstable_by(last, |a, b| b.cmp(a));
        let ties = 1 + larger.iter().filter(|size| *size == least).count();
        Self { least: *least, ties, omitted, limit }
    }

    /// How many do not go through.
    pub(super) const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// How many pieces of memory may be told by their place.
    pub(super) const fn runs(&self) -> usize {
        self.limit.saturating_mul(RUNS)
    }

    /// Whether an allocation or a scatter list goes through; each is to be asked about once. An mmap goes by its pieces.
    pub(super) const fn admits(&mut self, reference: &Reference) -> bool {
        match size(reference) {
            Some(bytes) => self.admits_bytes(bytes),
            None => false,
        }
    }

    /// Whether a piece of an mmap goes through.
    pub(super) const fn admits_pages(&mut self, pages: &std::ops::Range<u64>) -> bool {
        self.admits_bytes(bytes_of(pages))
    }

    const fn admits_bytes(&mut self, bytes: u64) -> bool {
        if bytes != self.least || self.omitted == 0 {
            return bytes > self.least || self.omitted == 0;
        }
        let is_free = self.ties > 0;
        self.ties = self.ties.saturating_sub(1);
        is_free
    }
}

/// Bytes of what is no mmap.
const fn size(reference: &Reference) -> Option<u64> {
    match reference.allocated {
        Allocated::Allocation { size, .. } | Allocated::ScatterList { size, .. } => Some(whole_pages(size)),
        Allocated::Mmap { .. } => None,
    }
}

const fn bytes_of(pages: &std::ops::Range<u64>) -> u64 {
    pages.end.saturating_sub(pages.start).saturating_mul(PAGE_SIZE)
}
