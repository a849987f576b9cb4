//! The kinds of records.

/// Defines an enum over `u8` with a stable name per variant and look-ups by number and by name.
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$doc])* $variant = $value,)* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in every output; it never changes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The variant with this number, if there is one.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The variant with this name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// The kind of a record. The numbers are part of the record's format and never change their meaning.
    ///
    /// Readers skip a record of a kind that they do not know, and treat it like a lost record, because it
    /// may concern any device. The numbers in [`RESERVED_PAGELESS`] are reserved for a second life cycle.
    pub enum Kind {
        /// `pci_p2pdma_add_resource` returned: a BAR was offered as p2p memory, or refused.
        AddResource = 1 "add_resource",
        /// `devm_memremap_pages` returned for p2p memory: a range got struct pages, or the call
        /// failed.
        Memremap = 2 "memremap",
        /// `pci_p2pmem_publish` entered.
        Publish = 3 "publish",
        /// `pci_alloc_p2pmem` returned.
        Alloc = 4 "alloc",
        /// `pci_free_p2pmem` entered.
        Free = 5 "free",
        /// `pci_p2pmem_alloc_sgl` returned.
        SglAlloc = 6 "sgl_alloc",
        /// `pci_p2pmem_free_sgl` entered.
        SglFree = 7 "sgl_free",
        /// `p2pmem_alloc_mmap` returned: user space mapped p2p memory (Linux 6.2 and later).
        Mmap = 8 "mmap",
        /// Pages of a user mapping were returned to the pool; one record stands for a burst of
        /// them.
        PageFree = 9 "page_free",
        /// p2p memory was mapped for DMA by another device.
        Map = 10 "map",
        /// Such a mapping was undone (5.10 to 5.19).
        Unmap = 11 "unmap",
        /// `pci_p2pmem_virt_to_bus` entered.
        VirtToBus = 12 "virt_to_bus",
        /// `device_release_driver_internal` entered for a device with p2p memory.
        Unbind = 13 "unbind",
        /// `device_release_driver_internal` returned.
        Unbound = 14 "unbound",
        /// `pci_device_remove` entered: the driver's remove callback is about to run.
        DriverRemove = 15 "driver_remove",
        /// `pci_device_remove` returned.
        DriverRemoved = 16 "driver_removed",
        /// `devres_release_all` entered: managed resources, p2p memory among them, are about to be
        /// freed.
        DevresRelease = 17 "devres_release",
        /// `devres_release_all` returned.
        DevresReleased = 18 "devres_released",
        /// `pci_p2pdma_unmap_mappings` entered: user mappings are about to be revoked (6.2 and later).
        UnmapMappings = 19 "unmap_mappings",
        /// `devm_memremap_pages_release` entered.
        MemremapRelease = 20 "memremap_release",
        /// `memunmap_pages` entered; its first act is the kill of the range's reference.
        Kill = 21 "kill",
        /// `dev_pagemap_percpu_release` entered: the last reference of the range was dropped.
        Drained = 22 "drained",
        /// `arch_remove_memory` entered within `memunmap_pages`: the struct pages are removed.
        Remove = 23 "remove",
        /// `memunmap_pages` returned.
        Unmapped = 24 "unmapped",
        /// `pci_p2pdma_release` entered: the device's pool is about to be destroyed.
        Release = 25 "release",
        /// `pci_p2pdma_release` returned.
        Released = 26 "released",
        /// Snapshot: the state of one range at this moment (`docs/events.md`).
        RangeState = 27 "range_state",
        /// Snapshot: the state of a device, after the states of its ranges.
        DeviceState = 28 "device_state",
        /// `pci_alloc_p2pmem` or `p2pmem_alloc_mmap` entered while the device's pool still points
        /// to a range that is gone.
        AllocAttempt = 29 "alloc_attempt",
        /// A continuation: kernel stack frames of the record that it refers to.
        Stack = 64 "stack",
        /// Written by user space: time passed without another event.
        Tick = 128 "tick",
        /// Written by user space: records of a CPU's ring were overwritten before they were read.
        Loss = 129 "loss",
        /// Written by user space: a hook was attached or detached.
        Attach = 130 "attach",
        /// Written by user space: the end of the run.
        End = 131 "end",
        /// Written by user space: a contiguous piece of memory that a snapshot found allocated.
        AllocatedRun = 132 "allocated_run",
        /// Written by user space: the snapshot of a device is complete, or was abandoned.
        SnapshotEnd = 133 "snapshot_end",
        /// Written by user space: a process that allocated memory has exited.
        HolderExited = 134 "holder_exited",
    }
}

/// Numbers reserved for the kinds of a second life cycle: memory without struct pages (`struct p2pdma_provider`),
/// which is shared as a dma-buf. They are for the provider, and for the export, attach, detach, map, unmap,
/// revoke, and reset of a dma-buf, among others. No kind has one of these numbers yet.
pub const RESERVED_PAGELESS: core::ops::RangeInclusive<u8> = 30..=47;

impl Kind {
    /// True for the kinds that the kernel side writes, other than continuations: a user sees them
    /// as events.
    #[must_use]
    pub const fn is_event(self) -> bool {
        (self as u8) < Self::Stack as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind as u8), Some(kind));
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_u8(0), None);
        assert_eq!(Kind::from_name("Alloc"), None);
    }

    #[test]
    fn no_kind_uses_a_reserved_number() {
        for number in RESERVED_PAGELESS {
            assert_eq!(Kind::from_u8(number), None, "{number}");
            assert!(number < Kind::Stack as u8, "{number} is not an event of the kernel side");
        }
    }
}
