//! The records that a skipped run of each hook may have cost. The rows match those of the hook table
//! (`crates/probe/src/hook_table.rs`). This is data only; the rows of the rules say which rules may miss a
//! violation after a skipped run.

use p2p_trace_common::{Hook, Kind, Ring};

/// The knowledge that a skipped run leaves uncertain, with the devices concerned and the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Affected {
    /// Nothing: the hook writes no record, or one that no rule reads.
    Nothing,
    /// Allocated memory.
    Allocated,
    /// Allocated memory of a device whose memory was mapped into user space meanwhile.
    Inserted,
    /// The existing ranges.
    Ranges,
    /// The steps by which ranges and the pool end.
    Teardown,
    /// Whether the driver core has let go of the device.
    Bracket,
    /// DMA mappings.
    Mapped,
    /// Whether memory of a removed range was used or requested.
    Used,
}

impl Affected {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Allocated,
        Self::Inserted,
        Self::Ranges,
        Self::Teardown,
        Self::Bracket,
        Self::Mapped,
        Self::Used,
    ];

    /// The devices for which it may have cost something, in words.
    #[must_use]
    pub const fn devices(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Allocated | Self::Bracket | Self::Mapped => "those that had p2p memory meanwhile",
            Self::Inserted => "those whose memory was mapped into user space meanwhile",
            Self::Ranges => "all",
            Self::Teardown => {
                "those that had p2p memory meanwhile, unless the teardown during that time is complete"
            }
            Self::Used => "those that had a removed range meanwhile",
        }
    }

    /// How long the uncertainty lasts, in words.
    #[must_use]
    pub const fn until(self) -> &'static str {
        match self {
            Self::Nothing => "not applicable",
            Self::Allocated | Self::Inserted | Self::Ranges => "until the next snapshot that reconciles",
            Self::Teardown => {
                "until a snapshot, if no teardown happened during that time; otherwise until the next complete teardown"
            }
            Self::Bracket => "until a snapshot finds the device's lock free, or the teardown ends",
            Self::Mapped | Self::Used => "until the next complete teardown",
        }
    }

    /// Whether a snapshot can settle the uncertainty.
    #[must_use]
    pub const fn is_read_anew(self) -> bool {
        matches!(self, Self::Allocated | Self::Inserted | Self::Ranges | Self::Teardown | Self::Bracket)
    }
}

/// The cost of a skipped run of one hook.
#[derive(Clone, Copy, Debug)]
pub struct SkipRow {
    /// The hook.
    pub hook: Hook,
    /// The kinds of records that a skipped run may have cost, in full or in part.
    pub records: &'static [Kind],
    /// The ring that holds them.
    pub ring: Ring,
    /// The knowledge that a skipped run leaves uncertain.
    pub affected: Affected,
}

use Affected::{Allocated, Bracket, Inserted, Mapped, Nothing, Ranges, Teardown, Used};
use Ring::{Hot, Rare};

const fn row(hook: Hook, records: &'static [Kind], ring: Ring, affected: Affected) -> SkipRow {
    SkipRow { hook, records, ring, affected }
}

/// The table, in order of the hooks' numbers.
#[rustfmt::skip]
const TABLE: &[SkipRow] = &[
    // A snapshot shows the range, and no rule depends on what the device offers.
    row(Hook::AddResource, &[Kind::AddResource], Rare, Nothing),
    row(Hook::Memremap, &[Kind::Memremap], Rare, Ranges),
    row(Hook::Publish, &[Kind::Publish], Rare, Nothing),
    row(Hook::Alloc, &[Kind::Alloc], Hot, Allocated),
    row(Hook::Free, &[Kind::Free], Hot, Allocated),
    row(Hook::SglAlloc, &[Kind::SglAlloc], Hot, Allocated),
    row(Hook::SglFree, &[Kind::SglFree], Hot, Allocated),
    row(Hook::MmapEnter, &[Kind::Mmap], Hot, Allocated),
    // Runs for every task that maps pages of any driver.
    row(Hook::InsertPage, &[Kind::Mmap], Hot, Inserted),
    row(Hook::Mmap, &[Kind::Mmap], Hot, Allocated),
    row(Hook::PageFree, &[Kind::PageFree], Hot, Allocated),
    row(Hook::MapSg, &[Kind::Map], Hot, Mapped),
    row(Hook::UnmapSg, &[Kind::Unmap], Hot, Mapped),
    row(Hook::MapSegment, &[Kind::Map], Hot, Used),
    row(Hook::MapState, &[Kind::Map], Hot, Used),
    row(Hook::VirtToBus, &[Kind::VirtToBus], Hot, Used),
    // These run for every device of the machine that loses its driver.
    row(Hook::Unbind, &[Kind::Unbind], Rare, Bracket),
    row(Hook::Unbound, &[Kind::Unbound], Rare, Bracket),
    row(Hook::DriverRemove, &[Kind::DriverRemove], Rare, Bracket),
    row(Hook::DriverRemoved, &[Kind::DriverRemoved], Rare, Bracket),
    row(Hook::DevresRelease, &[Kind::DevresRelease], Rare, Bracket),
    row(Hook::DevresReleased, &[Kind::DevresReleased], Rare, Bracket),
    // Shown, but no rule depends on it.
    row(Hook::UnmapMappings, &[Kind::UnmapMappings], Rare, Nothing),
    row(Hook::MemremapRelease, &[Kind::MemremapRelease], Rare, Nothing),
    row(Hook::Kill, &[Kind::Kill], Rare, Teardown),
    row(Hook::Unmapped, &[Kind::Unmapped], Rare, Teardown),
    row(Hook::Drained, &[Kind::Drained], Rare, Teardown),
    row(Hook::Remove, &[Kind::Remove], Rare, Teardown),
    row(Hook::Release, &[Kind::Release], Rare, Teardown),
    row(Hook::Released, &[Kind::Released], Rare, Teardown),
    row(Hook::DmaMapSg, &[Kind::Map], Rare, Used),
    row(Hook::DmaMapPage, &[Kind::Map], Rare, Used),
    row(Hook::DmaMapPhys, &[Kind::Map], Rare, Used),
    row(Hook::DmaIovaLink, &[Kind::Map], Rare, Used),
    row(Hook::BlkDmaMap, &[Kind::Map], Rare, Used),
    // Nearly all its runs are for unrelated sysfs reads, for which it writes nothing. If a read by the tracer
    // itself is skipped, the answer to that read shows it, and the tracer repeats the read.
    row(Hook::Snapshot, &[], Rare, Nothing),
    row(Hook::AllocEnter, &[Kind::AllocAttempt], Rare, Used),
];

impl SkipRow {
    /// The row of a hook.
    #[must_use]
    pub const fn of(hook: Hook) -> &'static Self {
        &TABLE[hook as usize]
    }

    /// Whether a skipped run costs nothing.
    #[must_use]
    pub const fn costs_nothing(&self) -> bool {
        self.records.is_empty()
    }
}

const _: () = {
    assert!(TABLE.len() == Hook::ALL.len(), "every hook needs a row");
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].hook as usize == index, "rows must be in order of the hooks");
        index += 1;
    }
};
