//! The hooks: one number per point in the kernel at which a program runs.

use crate::kind::named_enum;

named_enum! {
    /// A point in the kernel. Indexes [`crate::Config::args`] and [`crate::Counters::hits`], and
    /// names the origin of every record. User space maps a hook to a function of the running
    /// kernel.
    pub enum Hook {
        /// Exit of `pci_p2pdma_add_resource`.
        AddResource = 0 "add_resource",
        /// Exit of `devm_memremap_pages`.
        Memremap = 1 "memremap",
        /// Entry of `pci_p2pmem_publish`.
        Publish = 2 "publish",
        /// Exit of `pci_alloc_p2pmem`.
        Alloc = 3 "alloc",
        /// Entry of `pci_free_p2pmem`.
        Free = 4 "free",
        /// Exit of `pci_p2pmem_alloc_sgl`.
        SglAlloc = 5 "sgl_alloc",
        /// Entry of `pci_p2pmem_free_sgl`.
        SglFree = 6 "sgl_free",
        /// Entry of `p2pmem_alloc_mmap`. Starts the count of inserted pages; writes a record only
        /// for an attempt on a dead chunk.
        MmapEnter = 7 "mmap_enter",
        /// Entry of `vm_insert_page`. Writes no record; counts calls within a `p2pmem_alloc_mmap`.
        InsertPage = 8 "insert_page",
        /// Exit of `p2pmem_alloc_mmap`.
        Mmap = 9 "mmap",
        /// Entry of `p2pdma_folio_free` or `p2pdma_page_free`.
        PageFree = 10 "page_free",
        /// Entry of `pci_p2pdma_map_sg_attrs` (to 5.19).
        MapSg = 11 "map_sg",
        /// Entry of `pci_p2pdma_unmap_sg_attrs` (to 5.19).
        UnmapSg = 12 "unmap_sg",
        /// Entry of `pci_p2pdma_map_segment` (6.0 to 6.15).
        MapSegment = 13 "map_segment",
        /// Entry of `__pci_p2pdma_update_state` (6.16 and later).
        MapState = 14 "map_state",
        /// Entry of `pci_p2pmem_virt_to_bus`.
        VirtToBus = 15 "virt_to_bus",
        /// Entry of `device_release_driver_internal`.
        Unbind = 16 "unbind",
        /// Exit of `device_release_driver_internal`.
        Unbound = 17 "unbound",
        /// Entry of `pci_device_remove`.
        DriverRemove = 18 "driver_remove",
        /// Exit of `pci_device_remove`.
        DriverRemoved = 19 "driver_removed",
        /// Entry of `devres_release_all`.
        DevresRelease = 20 "devres_release",
        /// Exit of `devres_release_all`.
        DevresReleased = 21 "devres_released",
        /// Entry of `pci_p2pdma_unmap_mappings`.
        UnmapMappings = 22 "unmap_mappings",
        /// Entry of `devm_memremap_pages_release`.
        MemremapRelease = 23 "memremap_release",
        /// Entry of `memunmap_pages`.
        Kill = 24 "kill",
        /// Exit of `memunmap_pages`.
        Unmapped = 25 "unmapped",
        /// Entry of `dev_pagemap_percpu_release`.
        Drained = 26 "drained",
        /// Entry of `arch_remove_memory`.
        Remove = 27 "remove",
        /// Entry of `pci_p2pdma_release`.
        Release = 28 "release",
        /// Exit of `pci_p2pdma_release`.
        Released = 29 "released",
        /// Armed: entry of `__dma_map_sg_attrs`, or `dma_map_sg_attrs` where that is absent.
        DmaMapSg = 30 "dma_map_sg",
        /// Armed: entry of `dma_map_page_attrs`.
        DmaMapPage = 31 "dma_map_page",
        /// Armed: entry of `dma_map_phys`.
        DmaMapPhys = 32 "dma_map_phys",
        /// Armed: entry of `dma_iova_link`.
        DmaIovaLink = 33 "dma_iova_link",
        /// Armed: entry of `blk_rq_dma_map_iter_start`.
        BlkDmaMap = 34 "blk_dma_map",
        /// Entry of `dev_attr_show`, for the tracer's own reads: its snapshots.
        Snapshot = 35 "snapshot",
        /// Armed: entry of `pci_alloc_p2pmem`.
        AllocEnter = 36 "alloc_enter",
    }
}

impl Hook {
    /// True if the hook's records are about an allocation or an attempt at one: their stack shows
    /// who holds the memory.
    #[must_use]
    pub const fn takes_memory(self) -> bool {
        matches!(self, Self::Alloc | Self::SglAlloc | Self::Mmap)
    }
}

/// Number of hooks.
pub const HOOKS: usize = Hook::ALL.len();

/// Room for hooks of later versions in arrays that are indexed by hook, so that adding one moves
/// nothing.
pub const HOOK_SLOTS: usize = 48;

/// Maximum number of logical arguments of a hook.
pub const MAX_ARGS: usize = 4;

const _: () = {
    assert!(HOOKS <= HOOK_SLOTS);
    let mut index = 0;
    while index < HOOKS {
        assert!(Hook::ALL[index] as usize == index, "hooks are numbered without a gap");
        index += 1;
    }
};
