//! `struct dev_pagemap`: whether it is p2p memory, its device, its range, and how much of it is
//! allocated.

use p2p_trace_common::{
    config::{MISSING, UNKNOWN_OPS},
    state,
};

use crate::{
    config::{config, offset},
    device::{self, Address},
    memory::read,
};

/// First and last physical address.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// True for `MEMORY_DEVICE_PCI_P2PDMA`.
#[inline(always)]
pub(crate) fn is_p2pdma(pgmap: u64) -> bool {
    let wanted = offset!(type_p2pdma);
    wanted != MISSING && read::<u32>(pgmap, offset!(pgmap_type)) == Some(wanted)
}

/// The pgmap's (only) range.
#[inline(always)]
pub(crate) fn range(pgmap: u64) -> Option<Range> {
    let [start, end] = read::<[u64; 2]>(pgmap, offset!(pgmap_range))?;
    Some(Range { start, end })
}

/// Number of ranges; 0 for a refused add.
#[inline(always)]
pub(crate) fn range_count(pgmap: u64) -> Option<u32> {
    read(pgmap, offset!(pgmap_nr_range))
}

/// Bits of [`state`] that say who allocates the pages: a driver that does so itself has replaced
/// the operations.
#[inline(always)]
pub(crate) fn allocator(pgmap: u64) -> u16 {
    let own = config!(own_ops);
    if own == UNKNOWN_OPS {
        return 0;
    }
    match read::<u64>(pgmap, offset!(pgmap_ops)) {
        Some(ops) if ops == own => state::POOLED,
        Some(_) => state::BYPASSED,
        None => 0,
    }
}

/// The pgmap that a `struct percpu_ref` is embedded in (5.10: as `internal_ref`).
#[inline(always)]
pub(crate) fn of_ref(reference: u64) -> Option<u64> {
    let within =
        if offset!(pgmap_ref_is_pointer) == 0 { offset!(pgmap_ref) } else { offset!(pgmap_internal_ref) };
    (within != MISSING && reference != 0).then(|| reference.wrapping_sub(u64::from(within)))
}

/// Address of the pgmap's `struct percpu_ref`, which is also the owner of its chunk in the pool.
#[inline(always)]
pub(crate) fn ref_of(pgmap: u64) -> Option<u64> {
    let within = offset!(pgmap_ref);
    if offset!(pgmap_ref_is_pointer) != 0 {
        return read(pgmap, within);
    }
    (within != MISSING).then(|| pgmap.wrapping_add(u64::from(within)))
}

/// The `struct pci_dev` that provides the pgmap's memory: `provider` of the `pci_p2pdma_pagemap`
/// around it, or, from 6.19 on, the owner of its provider.
#[inline(always)]
pub(crate) fn provider(pgmap: u64) -> Option<u64> {
    let around = offset!(p2p_pgmap_pgmap);
    if around == MISSING {
        return None;
    }
    let outer = pgmap.wrapping_sub(u64::from(around));
    let direct = offset!(p2p_pgmap_provider);
    if direct != MISSING {
        return read(outer, direct);
    }
    let member = offset!(p2p_pgmap_mem);
    let memory = if offset!(mem_is_pointer) == 0 {
        (member != MISSING).then(|| outer.wrapping_add(u64::from(member)))
    } else {
        read(outer, member)
    };
    let owner: u64 = read(memory?, offset!(provider_owner))?;
    let within = offset!(pci_dev_dev);
    (within != MISSING && owner != 0).then(|| owner.wrapping_sub(u64::from(within)))
}

/// Address of the device that provides the pgmap's memory.
#[inline(always)]
pub(crate) fn device(pgmap: u64) -> Option<Address> {
    device::of_pci_dev_untyped(provider(pgmap)?)
}

/// A pool has one chunk per range; a device has at most six BARs, which a driver may split.
const MAX_CHUNKS: u32 = 16;

/// Head of the list of a pool's chunks.
#[inline(always)]
fn chunks(pool: u64) -> Option<u64> {
    let list = offset!(pool_chunks);
    (list != MISSING && pool != 0).then(|| pool.wrapping_add(u64::from(list)))
}

/// A `struct gen_pool_chunk`.
#[derive(Clone, Copy)]
pub(crate) struct Chunk(u64);

impl Chunk {
    /// The chunk with this node of the list.
    #[inline(always)]
    pub(crate) fn at(node: u64) -> Option<Self> {
        let within = offset!(chunk_next);
        (within != MISSING).then(|| Self(node.wrapping_sub(u64::from(within))))
    }

    /// First and last direct-map address.
    #[inline(always)]
    pub(crate) fn bounds(self) -> Option<(u64, u64)> {
        Some((read(self.0, offset!(chunk_start))?, read(self.0, offset!(chunk_end))?))
    }

    /// Bytes allocated.
    #[inline(always)]
    pub(crate) fn allocated(self) -> Option<u64> {
        let (start, end) = self.bounds()?;
        let free: u64 = read(self.0, offset!(chunk_avail))?;
        Some(end.wrapping_sub(start).wrapping_add(1).wrapping_sub(free))
    }

    /// The `struct percpu_ref` on which allocations from the chunk take references.
    #[inline(always)]
    pub(crate) fn owner(self) -> Option<u64> {
        read(self.0, offset!(chunk_owner))
    }

    /// Address of its bitmap: one bit per page.
    #[inline(always)]
    pub(crate) fn bits(self) -> Option<u64> {
        let within = offset!(chunk_bits);
        (within != MISSING).then(|| self.0.wrapping_add(u64::from(within)))
    }
}

/// Result of the search for a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    Found,
    /// The pool has fewer chunks.
    Absent,
    /// The list could not be read up to this chunk.
    Unreadable,
}

/// Looks for chunk `wanted` of the pool of `pci_dev`, in the order of the list (the newest first),
/// and stores its address in `found`. That is memory of a map, so that the verifier forgets at
/// which step the walk ended and follows the code behind it only once.
#[inline(always)]
pub(crate) fn find_chunk(pci_dev: u64, wanted: u32, found: *mut u64) -> Search {
    let p2pdma = device::p2pdma_of(pci_dev);
    if p2pdma == 0 {
        return Search::Absent;
    }
    let Some(pool) = read::<u64>(p2pdma, offset!(p2pdma_pool)) else {
        return Search::Unreadable;
    };
    if pool == 0 {
        return Search::Absent;
    }
    let Some(head) = chunks(pool) else {
        return Search::Unreadable;
    };
    let mut node = head;
    let mut index = 0;
    while index <= MAX_CHUNKS {
        let Some(next) = read::<u64>(node, 0) else {
            return Search::Unreadable;
        };
        if next == head {
            return Search::Absent;
        }
        if index == wanted {
            // SAFETY: the pointer is to a map value.
            unsafe {
                core::ptr::write_volatile(found, next);
            }
            return Search::Found;
        }
        node = next;
        index += 1;
    }
    Search::Unreadable
}

/// Totals of a pool.
#[derive(Clone, Copy)]
pub(crate) struct Pool {
    pub(crate) chunks: u32,
    /// Bytes allocated.
    pub(crate) allocated: u64,
    /// Not 0: the driver itself allocates the pages of some chunk.
    pub(crate) bypassed: u64,
}

/// The pool behind a `struct pci_p2pdma`; `None` if it cannot be read to its end.
#[inline(always)]
pub(crate) fn pool(p2pdma: u64) -> Option<Pool> {
    let mut totals = Pool { chunks: 0, allocated: 0, bypassed: 0 };
    let own = config!(own_ops);
    let pool: u64 = read(p2pdma, offset!(p2pdma_pool))?;
    if pool == 0 {
        return Some(totals);
    }
    let head = chunks(pool)?;
    let mut node: u64 = read(head, 0)?;
    while totals.chunks < MAX_CHUNKS {
        if node == head {
            return Some(totals);
        }
        let chunk = Chunk::at(node)?;
        totals.allocated += chunk.allocated()?;
        if own != UNKNOWN_OPS {
            // Without a branch, which the verifier would follow for each chunk.
            let ops = of_ref(chunk.owner()?).and_then(|pgmap| read::<u64>(pgmap, offset!(pgmap_ops)));
            totals.bypassed |= ops? ^ own;
        }
        totals.chunks += 1;
        node = read(node, 0)?;
    }
    None
}

/// The p2p range of `pci_dev` whose reference is `owner`; `None` if the memory no longer holds such
/// a range.
#[inline(always)]
pub(crate) fn of_owner(pci_dev: u64, owner: u64, size: u64) -> Option<(u64, Range)> {
    let pgmap = of_ref(owner)?;
    if !is_p2pdma(pgmap) || provider(pgmap)? != pci_dev {
        return None;
    }
    let bounds = range(pgmap)?;
    (bounds.end.wrapping_sub(bounds.start).wrapping_add(1) == size).then_some((pgmap, bounds))
}

/// Bytes that the pool of `pci_dev` counts as allocated: in the chunk of `owner`, or in all chunks
/// for 0. `None` if the pool cannot be read to its end.
#[inline(always)]
pub(crate) fn allocated(pci_dev: u64, owner: u64) -> Option<u64> {
    let pool: u64 = read(device::p2pdma_of(pci_dev), offset!(p2pdma_pool))?;
    let head = chunks(pool)?;
    let mut node: u64 = read(head, 0)?;
    let mut total = 0;
    let mut index = 0;
    while index < MAX_CHUNKS {
        if node == head {
            return (owner == 0).then_some(total);
        }
        let chunk = Chunk::at(node)?;
        let bytes = chunk.allocated()?;
        if owner != 0 && chunk.owner()? == owner {
            return Some(bytes);
        }
        total += bytes;
        node = read(node, 0)?;
        index += 1;
    }
    None
}
