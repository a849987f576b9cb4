//! The step of an unbind that a task is in, derived from its kernel stack.
//!
//! The order of an unbind is `device_release_driver_internal`, the driver's remove callback, then
//! `devres_release_all`: per range `pci_p2pdma_unmap_mappings` and `memunmap_pages` (kill, wait, removal), last
//! `pci_p2pdma_release` (`drivers/base/dd.c`, `drivers/pci/p2pdma.c`, `mm/memremap.c`).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step of an unbind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnbindStep {
    /// In the unbind, but in none of the steps below.
    Unbind,
    /// The driver's remove callback.
    DriverRemove,
    /// VFIO waits until all users have closed the device. It revokes nothing in the meantime; a task that closes the device does.
    WaitForVfioUsers,
    /// Resources of the device are being released, but no p2p memory at this moment.
    DevresRelease,
    /// User mappings are being revoked, or the kernel waits for calls into the `allocate` file.
    RevokeMappings,
    /// A range is being torn down; whether it still waits is unknown.
    TearDownRange,
    /// The references to a range were killed, and the kernel waits for the last one.
    WaitForDrain,
    /// The pages of a range are being removed.
    RemovePages,
    /// The pool is being destroyed.
    ReleasePool,
}

impl UnbindStep {
    /// A description of the step, with the function that shows it.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Unbind => "unbinding (device_release_driver_internal)",
            Self::DriverRemove => "in the driver's remove callback (pci_device_remove)",
            Self::WaitForVfioUsers => {
                "waiting for the users of the VFIO device to close it (vfio_unregister_group_dev)"
            }
            Self::DevresRelease => "releasing the device's resources (devres_release_all)",
            Self::RevokeMappings => "revoking user mappings (pci_p2pdma_unmap_mappings)",
            Self::TearDownRange => "tearing down a range (memunmap_pages)",
            Self::WaitForDrain => "waiting for the last reference to a range (memunmap_pages)",
            Self::RemovePages => "removing the pages of a range (arch_remove_memory)",
            Self::ReleasePool => "releasing the pool (pci_p2pdma_release)",
        }
    }
}

impl fmt::Display for UnbindStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// Functions that `memunmap_pages` calls once there are no references to the range.
const REMOVAL: [&str; 6] = [
    "arch_remove_memory",
    "__remove_pages",
    "remove_pfn_range_from_zone",
    "pageunmap_range",
    "mem_hotplug_begin",
    "pgmap_array_delete",
];
const DEVRES: [&str; 2] = ["devres_release_all", "device_unbind_cleanup"];
const UNBIND: [&str; 5] = [
    "device_release_driver_internal",
    "__device_release_driver",
    "device_driver_detach",
    "device_release_driver",
    "unbind_store",
];

/// Functions that only wait. `/proc` omits them from a stack, other sources do not.
const WAITS: [&str; 7] = [
    "wait_for_completion",
    "__wait_for_common",
    "wait_for_common",
    "schedule_timeout",
    "schedule",
    "__schedule",
    "context_switch",
];

/// The step that a stack shows, from function names, innermost first; `None` if the task is not unbinding.
///
/// The names may carry an offset and a module: `memunmap_pages+0x87`.
pub fn unbind_step(frames: &[&str]) -> Option<UnbindStep> {
    let frames: Vec<_> = frames.iter().copied().map(function).collect();
    let has = |names: &[&str]| frames.iter().any(|frame| names.contains(frame));
    // Functions deeper in the stack take precedence.
    if let Some(unmap) = frames.iter().position(|&frame| frame == "memunmap_pages") {
        let inner = &frames[..unmap];
        return Some(if inner.iter().all(|frame| WAITS.contains(frame)) {
            UnbindStep::WaitForDrain
        } else if inner.iter().any(|frame| REMOVAL.contains(frame)) {
            UnbindStep::RemovePages
        } else {
            UnbindStep::TearDownRange
        });
    }
    [
        (&["pci_p2pdma_unmap_mappings"][..], UnbindStep::RevokeMappings),
        (&["pci_p2pdma_release"], UnbindStep::ReleasePool),
        (&["vfio_unregister_group_dev"], UnbindStep::WaitForVfioUsers),
        (&DEVRES, UnbindStep::DevresRelease),
        (&["pci_device_remove"], UnbindStep::DriverRemove),
        (&UNBIND, UnbindStep::Unbind),
    ]
    .into_iter()
    .find_map(|(names, step)| has(names).then_some(step))
}

/// The function name in `nvme_alloc_queue+0x1a3 [nvme]`.
fn function(frame: &str) -> &str {
    frame.split(['+', ' ']).next().unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The callers of everything that devres releases in an unbind through sysfs, Linux 7.3.
    const OUTER: [&str; 7] = [
        "release_nodes+0x36",
        "devres_release_all+0x8c",
        "device_unbind_cleanup+0xe",
        "device_release_driver_internal+0x1cc",
        "unbind_store+0xa1",
        "kernfs_fop_write_iter+0x14a",
        "vfs_write+0x25d",
    ];

    fn step(inner: &[&str], outer: &[&str]) -> Option<UnbindStep> {
        unbind_step(&[inner, outer].concat())
    }

    #[test]
    fn a_blocked_unbind_waits_for_the_drain() {
        assert_eq!(step(&["memunmap_pages+0x87"], &OUTER), Some(UnbindStep::WaitForDrain));
        let with_scheduler = [
            "__schedule+0x3b5",
            "schedule+0x27",
            "schedule_timeout+0xbd",
            "__wait_for_common+0x90",
            "memunmap_pages+0x87",
        ];
        assert_eq!(step(&with_scheduler, &OUTER), Some(UnbindStep::WaitForDrain));
        // 5.10, where the unbind is inlined into its callers.
        let outer = [
            "devm_action_release+0x11",
            "release_nodes+0x1b0",
            "device_driver_detach+0x3c",
            "unbind_store+0x10c",
        ];
        assert_eq!(step(&["memunmap_pages+0x60"], &outer), Some(UnbindStep::WaitForDrain));
    }

    #[test]
    fn recognizes_each_step() {
        for (inner, expected) in [
            (&["arch_remove_memory+0x3c", "memunmap_pages+0x1f0"][..], UnbindStep::RemovePages),
            (&["synchronize_rcu+0x7a", "memunmap_pages+0x240"], UnbindStep::TearDownRange),
            (
                &[
                    "kernfs_drain+0x106",
                    "__kernfs_remove.part.0+0x160",
                    "kernfs_remove_by_name_ns+0x5f",
                    "sysfs_remove_file_from_group+0x4d",
                    "pci_p2pdma_unmap_mappings+0x1f",
                ],
                UnbindStep::RevokeMappings,
            ),
            (&["synchronize_rcu+0x7a", "pci_p2pdma_release+0x32"], UnbindStep::ReleasePool),
            (&["free_irq+0x1"], UnbindStep::DevresRelease),
        ] {
            assert_eq!(step(inner, &OUTER), Some(expected), "{inner:?}");
        }
        let outer = &OUTER[3..];
        let remove = ["nvme_dev_disable+0x1a [nvme]", "nvme_remove+0x5a [nvme]", "pci_device_remove+0x42"];
        assert_eq!(step(&remove, outer), Some(UnbindStep::DriverRemove));
        let vfio = [
            "vfio_unregister_group_dev+0x99 [vfio]",
            "vfio_pci_core_unregister_device+0x15 [vfio_pci_core]",
            "vfio_pci_remove+0x12 [vfio_pci]",
            "pci_device_remove+0x42",
        ];
        assert_eq!(step(&vfio, outer), Some(UnbindStep::WaitForVfioUsers));
        assert_eq!(step(&[], outer), Some(UnbindStep::Unbind));
    }

    #[test]
    fn other_stacks_are_not_unbinds() {
        assert_eq!(step(&[], &[]), None);
        assert_eq!(step(&["read_events+0x11", "vfs_read+0x1"], &[]), None);
        assert_eq!(step(&["p2pdma_folio_free+0x1", "zap_pte_range+0x7", "do_exit+0x1"], &[]), None);
        assert_eq!(step(&["arch_remove_memory+0x1", "offline_pages+0x1"], &[]), None);
        // A task that closes a VFIO device, or exits with it open, waits for its importers. That is not an unbind, but one may wait for it.
        let closer = [
            "vfio_pci_dma_buf_move+0x9d [vfio_pci_core]",
            "vfio_pci_dma_buf_cleanup+0x3a [vfio_pci_core]",
            "vfio_pci_core_close_device+0x67 [vfio_pci_core]",
            "vfio_df_close+0x5c [vfio]",
            "__fput+0xe3",
        ];
        assert_eq!(step(&closer, &[]), None);
    }
}
