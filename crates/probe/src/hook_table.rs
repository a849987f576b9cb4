//! The hook table: the kernel functions that each hook attaches to, the parameters it needs, and what is lost without it.
//! The possible cost of a skipped run is in `crates/model/src/event/skips.rs`. Data only. Functions change between kernels; the
//! first candidate that a kernel has is used.
//!
//! Sources: the functions' prototypes in Linux 5.10, 6.1, 6.12, 6.16, 7.2 and 7.3, read from BTF.

use p2p_trace_common::Hook;

/// Where a hook sits in its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// At the entry: fentry or kprobe.
    Entry,
    /// At the exit: fexit or kretprobe.
    Exit,
}

/// When a hook is attached, and what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Always attached. If the kernel has the function, p2p memory cannot be followed without the hook.
    Required,
    /// Always attached; without the hook, less is observed.
    Optional,
    /// Attached only if requested by name: it is on a path that every I/O takes, after functions that are armed.
    OnRequest,
    /// Attached throughout only if requested by name, since it is on a path that every I/O takes; otherwise as [`Need::Armed`].
    ArmedOrNamed,
    /// Attached only during a teardown of a device that has outstanding memory, or more than one range.
    Armed,
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The hook.
    pub hook: Hook,
    /// At the entry or the exit.
    pub point: Point,
    /// Candidate functions, newest name first.
    pub functions: &'static [&'static str],
    /// Names of the parameters that the hook reads, by logical argument.
    pub args: &'static [&'static str],
    /// When the hook is attached.
    pub need: Need,
    /// Facts that are lost without the hook.
    pub lost_without: &'static str,
}

use Need::{Armed, ArmedOrNamed, OnRequest, Optional, Required};
use Point::{Entry, Exit};

const fn row(
    hook: Hook,
    point: Point,
    functions: &'static [&'static str],
    args: &'static [&'static str],
    need: Need,
    lost_without: &'static str,
) -> Row {
    Row { hook, point, functions, args, need, lost_without }
}

/// The table, in attach order: hooks that close something come before the hooks that open it, so that no exit is seen
/// without its entry, and teardown hooks come before the hot path.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row(Hook::Released, Exit, &["pci_p2pdma_release"], &["data"], Optional,
        "the end of the pool's destruction"),
    row(Hook::Release, Entry, &["pci_p2pdma_release"], &["data"], Required,
        "the pool's destruction, last step of a teardown"),
    row(Hook::Unmapped, Exit, &["memunmap_pages"], &["pgmap"], Required,
        "the end of a range's teardown"),
    row(Hook::Remove, Entry, &["arch_remove_memory"], &["start", "size"], Required,
        "the removal of the struct pages"),
    row(Hook::Drained, Entry, &["dev_pagemap_percpu_release"], &["ref"], Required,
        "the drop of a range's last reference"),
    row(Hook::Kill, Entry, &["memunmap_pages"], &["pgmap"], Required,
        "the kill of a range's reference"),
    row(Hook::MemremapRelease, Entry, &["devm_memremap_pages_release"], &["data"], Required,
        "the start of a range's release by devres"),
    row(Hook::UnmapMappings, Entry, &["pci_p2pdma_unmap_mappings"], &["data"], Optional,
        "the revocation of user mappings"),
    row(Hook::DevresReleased, Exit, &["devres_release_all"], &["dev"], Optional,
        "the end of the release of managed resources"),
    row(Hook::DevresRelease, Entry, &["devres_release_all"], &["dev"], Optional,
        "the start of the release of managed resources"),
    row(Hook::DriverRemoved, Exit, &["pci_device_remove"], &["dev"], Optional,
        "the return of the driver's remove callback"),
    row(Hook::DriverRemove, Entry, &["pci_device_remove"], &["dev"], Optional,
        "the call of the driver's remove callback"),
    row(Hook::Unbound, Exit, &["device_release_driver_internal"], &["dev"], Optional,
        "the end of an unbind"),
    row(Hook::Unbind, Entry, &["device_release_driver_internal"], &["dev"], Optional,
        "the start of an unbind"),
    row(Hook::Memremap, Exit, &["devm_memremap_pages"], &["dev", "pgmap"], Required,
        "new ranges, and where they lie in the direct map"),
    row(Hook::AddResource, Exit, &["pci_p2pdma_add_resource"], &["pdev", "bar", "size", "offset"], Required,
        "BARs that are added as p2p memory"),
    row(Hook::Publish, Entry, &["pci_p2pmem_publish"], &["pdev", "publish"], Optional,
        "whether other drivers may use the memory"),
    row(Hook::SglFree, Entry, &["pci_p2pmem_free_sgl"], &["pdev", "sgl"], Required,
        "frees of scatter lists: each looks like a leak"),
    row(Hook::SglAlloc, Exit, &["pci_p2pmem_alloc_sgl"], &["pdev", "nents", "length"], Required,
        "which allocations belong to a scatter list"),
    row(Hook::Free, Entry, &["pci_free_p2pmem"], &["pdev", "addr", "size"], Required,
        "frees: each looks like a leak"),
    row(Hook::Alloc, Exit, &["pci_alloc_p2pmem"], &["pdev", "size"], Required,
        "allocations, and thereby who holds memory"),
    row(Hook::PageFree, Entry, &["p2pdma_folio_free", "p2pdma_page_free"], &["folio|page"], Required,
        "pages freed from user mappings: each looks like a leak"),
    row(Hook::Mmap, Exit, &["p2pmem_alloc_mmap"], &["kobj", "vma"], Required,
        "user mappings of p2p memory"),
    row(Hook::InsertPage, Entry, &["vm_insert_page"], &["vma", "page"], Optional,
        "how many pages a user mapping allocated, especially a failed one"),
    row(Hook::MmapEnter, Entry, &["p2pmem_alloc_mmap"], &["kobj"], Optional,
        "how many pages a user mapping allocated, especially a failed one"),
    row(Hook::VirtToBus, Entry, &["pci_p2pmem_virt_to_bus"], &["pdev", "addr"], Optional,
        "drivers that program bus addresses themselves"),
    row(Hook::MapSg, Entry, &["pci_p2pdma_map_sg_attrs"], &["dev", "sg", "nents"], ArmedOrNamed,
        "mappings of p2p memory by other devices, especially of removed pages"),
    row(Hook::UnmapSg, Entry, &["pci_p2pdma_unmap_sg_attrs"], &["dev", "sg", "nents"], ArmedOrNamed,
        "the end of mappings by other devices"),
    row(Hook::MapSegment, Entry, &["pci_p2pdma_map_segment"], &["dev", "sg"], OnRequest,
        "mappings of p2p memory by other devices"),
    row(Hook::MapState, Entry, &["__pci_p2pdma_update_state"], &["dev", "page"], OnRequest,
        "mappings of p2p memory by other devices"),
    row(Hook::Snapshot, Entry, &["dev_attr_show"], &["kobj"], Optional,
        "snapshots of the kernel's state: memory allocated before tracing, and what was lost"),
    row(Hook::DmaMapSg, Entry, &["__dma_map_sg_attrs", "dma_map_sg_attrs"], &["dev", "sg", "nents"], Armed,
        "scatter lists with removed pages"),
    row(Hook::DmaMapPage, Entry, &["dma_map_page_attrs"], &["dev", "page"], Armed,
        "single mappings of removed pages"),
    row(Hook::DmaMapPhys, Entry, &["dma_map_phys"], &["dev", "phys"], Armed,
        "mappings of removed memory by physical address"),
    row(Hook::DmaIovaLink, Entry, &["dma_iova_link"], &["dev", "phys"], Armed,
        "removed memory linked into an I/O virtual range"),
    row(Hook::BlkDmaMap, Entry, &["blk_rq_dma_map_iter_start"], &["req", "dma_dev"], Armed,
        "block requests with removed pages"),
    row(Hook::AllocEnter, Entry, &["pci_alloc_p2pmem"], &["pdev", "size"], Armed,
        "attempts to allocate memory, especially fatal ones, while the pool points to a range that is gone"),
];

/// The hooks that matter most, listed first everywhere: an allocation, then the teardown steps whose order matters.
pub const MISSION: [Hook; 4] = [Hook::Alloc, Hook::MemremapRelease, Hook::Remove, Hook::Release];

impl Row {
    /// The row of a hook.
    #[must_use]
    pub fn of(hook: Hook) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.hook == hook)
    }

    /// The hook is attached only during a teardown, unless requested by name.
    #[must_use]
    pub const fn can_be_armed(&self) -> bool {
        matches!(self.need, Armed | ArmedOrNamed)
    }

    /// When armed, the hook compares addresses of `struct page`s, and sees nothing if the address of the page array is unknown.
    pub(crate) const fn compares_pages(&self) -> bool {
        matches!(self.hook, Hook::DmaMapSg | Hook::DmaMapPage | Hook::BlkDmaMap)
            || matches!(self.need, ArmedOrNamed)
    }

    /// Names of logical argument `index`, newest first; empty if the hook has no such argument.
    pub(crate) fn arg_names(&self, index: usize) -> impl Iterator<Item = &'static str> {
        let names = self.args.get(index).copied().unwrap_or_default();
        names.split('|').filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_exactly_one_row() {
        for &hook in Hook::ALL {
            assert_eq!(TABLE.iter().filter(|row| row.hook == hook).count(), 1, "{}", hook.name());
        }
    }

    #[test]
    fn mission_lists_the_four_key_functions() {
        let function = |hook| Row::of(hook).unwrap().functions;
        let functions: Vec<_> = MISSION.iter().flat_map(|&hook| function(hook)).copied().collect();
        let expected =
            ["pci_alloc_p2pmem", "devm_memremap_pages_release", "arch_remove_memory", "pci_p2pdma_release"];
        assert_eq!(functions, expected);
    }

    #[test]
    fn exits_are_attached_before_their_entries() {
        let place = |hook| TABLE.iter().position(|row| row.hook == hook);
        for (exit, entry) in [
            (Hook::Unmapped, Hook::Kill),
            (Hook::Released, Hook::Release),
            (Hook::Unbound, Hook::Unbind),
            (Hook::DriverRemoved, Hook::DriverRemove),
            (Hook::DevresReleased, Hook::DevresRelease),
            (Hook::Mmap, Hook::MmapEnter),
        ] {
            assert!(place(exit) < place(entry), "{} must precede {}", exit.name(), entry.name());
        }
    }
}
