//! Functions in the kernel stack of a waiting task which suggest that it works on p2p memory.
//!
//! A hint, not a proof: the same functions serve ordinary memory.

use crate::kernel::symbols::Symbol;

/// How a pattern is compared with the name of a function.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// The name starts with the text.
    Prefix(&'static str),
    /// The name contains the text.
    Part(&'static str),
}

use Pattern::{Part, Prefix};
use p2p_trace_model::text::Text;

/// Patterns of function names, and the subsystem they belong to; the most specific ones first.
const PATTERNS: [(Pattern, &str); 20] = [
    (Part("p2pdma"), "peer-to-peer memory"),
    (Part("p2pmem"), "peer-to-peer memory"),
    (Prefix("vfio_pci_dma_buf_"), "revoking dma-bufs of a VFIO device"),
    (Prefix("dma_buf_"), "a dma-buf"),
    (Prefix("dma_resv_"), "a dma-buf"),
    (Prefix("dma_fence_"), "a dma-buf"),
    (Part("dma_map"), "mapping for DMA"),
    (Part("dma_unmap"), "unmapping from DMA"),
    (Part("blkdev_direct_IO"), "direct I/O"),
    (Part("blockdev_direct_IO"), "direct I/O"),
    (Part("iomap_dio"), "direct I/O"),
    (Prefix("nfs_file_direct_"), "direct I/O"),
    (Part("bio_iov_iter"), "pinning user pages for I/O"),
    (Part("pin_user_pages"), "pinning user pages"),
    (Prefix("nvmet_"), "an NVMe target"),
    (Prefix("nvme_"), "NVMe"),
    (Prefix("rdma_"), "RDMA"),
    (Prefix("ib_"), "RDMA"),
    (Prefix("uverbs_"), "RDMA"),
    (Prefix("vfio_"), "VFIO"),
];

/// A stack frame that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The frame: `__iomap_dio_rw+0x4f3`.
    pub frame: Text,
    /// The subsystem of its function: `direct I/O`.
    pub part_of: &'static str,
}

/// The frame with the most specific match; among equal matches, the innermost.
pub(super) fn hint(stack: &[Symbol]) -> Option<Hint> {
    PATTERNS.iter().find_map(|(pattern, part_of)| {
        let fits = |frame: &&Symbol| match pattern {
            Prefix(text) => frame.name.starts_with(text),
            Part(text) => frame.name.contains(text),
        };
        let frame = stack.iter().find(fits)?.to_string().into();
        Some(Hint { frame, part_of })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(names: &[&str]) -> Option<(Text, &'static str)> {
        let symbol = |name: &&str| Symbol { name: (*name).into(), offset: 1, module: None };
        let stack: Vec<_> = names.iter().map(symbol).collect();
        hint(&stack).map(|hint| (hint.frame, hint.part_of))
    }

    #[test]
    fn recognizes_direct_io() {
        let stack = ["blk_io_schedule", "__blkdev_direct_IO_simple", "blkdev_read_iter", "vfs_read"];
        assert_eq!(hint_of(&stack), Some(("__blkdev_direct_IO_simple+0x1".into(), "direct I/O")));
    }

    #[test]
    fn prefers_the_most_specific_frame() {
        let stack = ["nvme_queue_rq", "p2pdma_folio_free", "zap_pte_range"];
        assert_eq!(hint_of(&stack), Some(("p2pdma_folio_free+0x1".into(), "peer-to-peer memory")));
    }

    /// The stack of a task that closes a VFIO device whose importer does not unmap, Linux 7.3.
    #[test]
    fn recognizes_a_vfio_revocation() {
        let stack = [
            "vfio_pci_dma_buf_move",
            "vfio_pci_dma_buf_cleanup",
            "vfio_pci_core_close_device",
            "vfio_df_close",
            "__fput",
        ];
        let expected = ("vfio_pci_dma_buf_move+0x1".into(), "revoking dma-bufs of a VFIO device");
        assert_eq!(hint_of(&stack), Some(expected));
    }

    #[test]
    fn ordinary_waits_give_no_hint() {
        assert_eq!(hint_of(&["io_schedule", "folio_wait_bit", "filemap_read"]), None);
        assert_eq!(hint_of(&["jbd2_log_wait_commit", "fib_lookup"]), None);
        assert_eq!(hint_of(&[]), None);
    }
}
