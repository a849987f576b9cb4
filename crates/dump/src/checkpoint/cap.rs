//! Limits the references in a checkpoint to the largest ones.

use p2p_trace_model::{
    event::decode::PAGE_SIZE,
    state::{Allocated, Device, Model, Reference, whole_pages},
};

/// For each reference that a capped checkpoint may hold, the number of pieces of allocated memory that it may
/// list by place only.
const RUNS: usize = 2;

/// Admits the largest references of the model that it was built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    /// Bytes of the smallest admitted reference; 0: all are admitted.
    least: u64,
    /// Number of references of exactly that size that are still admitted.
    ties: usize,
    omitted: u64,
    /// The requested limit.
    limit: usize,
}

impl Cap {
    /// Builds the limit for the references of a model.
    pub(super) fn of(model: &Model, limit: usize) -> Self {
        let all = Self { least: 0, ties: usize::MAX, omitted: 0, limit };
        let count: usize = model.devices().map(Device::reference_count).sum();
        // Each piece of an mmap counts separately, so that the pieces determine the number of references.
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

    /// Number of references that are not admitted.
    pub(super) const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Maximum number of pieces of memory that may be listed by place.
    pub(super) const fn runs(&self) -> usize {
        self.limit.saturating_mul(RUNS)
    }

    /// True if an allocation or a scatter list is admitted; ask only once for each. An mmap is admitted by
    /// its pieces.
    pub(super) const fn admits(&mut self, reference: &Reference) -> bool {
        match size(reference) {
            Some(bytes) => self.admits_bytes(bytes),
            None => false,
        }
    }

    /// True if a piece of an mmap is admitted.
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

/// Bytes of an allocation or scatter list.
const fn size(reference: &Reference) -> Option<u64> {
    match reference.allocated {
        Allocated::Allocation { size, .. } | Allocated::ScatterList { size, .. } => Some(whole_pages(size)),
        Allocated::Mmap { .. } => None,
    }
}

const fn bytes_of(pages: &std::ops::Range<u64>) -> u64 {
    pages.end.saturating_sub(pages.start).saturating_mul(PAGE_SIZE)
}
