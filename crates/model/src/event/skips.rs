//! What a run of a hook that the kernel skipped can have cost: beside the hook table (`crates/probe/src/hook_table.rs`), and of
//! the same hooks. Data only; which rules a skipped run can hide a violation from stands in the rows of the rules.

use p2p_trace_common::{Hook, Kind, Ring};

/// What is in doubt after a skipped run: of which devices, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Affected {
    /// Nothing: it writes no record, or one that no rule looks at.
    Nothing,
    /// What is taken.
    Allocated,
    /// What is taken of a device whose memory was mapped into user space meanwhile.
    Inserted,
    /// Which ranges there are.
    Ranges,
    /// The steps by which ranges and the pool come to their end.
    Teardown,
    /// That the driver core lets go of the device.
    Bracket,
    /// What is mapped for DMA.
    Mapped,
    /// Whether memory of a removed range was used, or asked for.
    Used,
}

impl Affected {
    /// Every one, in order.
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

    /// On which devices it can have cost something, in words.
    #[must_use]
    pub const fn devices(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Allocated | Self::Bracket | Self::Mapped => "those that had p2p memory meanwhile",
            Self::Inserted => "those whose memory was mapped into user space meanwhile",
            Self::Ranges => "all",
            Self::Teardown => {
                "those that had p2p memory meanwhile, unless the teardown that fell into that time is complete"
            }
            Self::Used => "those that had a removed range meanwhile",
        }
    }

    /// How long, in words.
    #[must_use]
    pub const fn until(self) -> &'static str {
        match self {
            Self::Nothing => "not at all",
            Self::Allocated | Self::Inserted | Self::Ranges => "until the next pull read that reconciles",
            Self::Teardown => {
                "until a pull read, if no teardown fell into that time; else until the next complete one"
            }
            Self::Bracket => "until a pull read finds the device's lock free, or the teardown ends",
            Self::Mapped | Self::Used => "until the next complete teardown",
        }
    }

    /// A pull read can make up for it.
    #[must_use]
    pub const fn is_read_anew(self) -> bool {
        matches!(self, Self::Allocated | Self::Inserted | Self::Ranges | Self::Teardown | Self::Bracket)
    }
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct SkipRow {
    /// The hook.
    pub hook: Hook,
    /// The kinds of records that a skipped run can have cost, or cost a part of.
    pub records: &'static [Kind],
    /// The ring that they are in.
    pub ring: Ring,
    /// What is in doubt then.
    pub affected: Affected,
}

use Affected::{Allocated, Bracket, Inserted, Mapped, Nothing, Ranges, Teardown, Used};
use Ring::{Hot, Rare};

const fn row(hook: Hook, records: &'static [Kind], ring: Ring, affected: Affected) -> SkipRow {
    SkipRow { hook, records, ring, affected }
}

/// The table, in the order of the hooks' numbers.
#[rustfmt::skip]
const TABLE: &[SkipRow] = &[
    // A pull read shows the range; what the device offers is asked of nobody's rule.
    row(Hook::AddResource, &[Kind::AddResource], Rare, Nothing),
    row(Hook::Memremap, &[Kind::Memremap], Rare, Ranges),
    row(Hook::Publish, &[Kind::Publish], Rare, Nothing),
    row(Hook::Alloc, &[Kind::Alloc], Hot, Allocated),
    row(Hook::Free, &[Kind::Free], Hot, Allocated),
    row(Hook::SglAlloc, &[Kind::SglAlloc], Hot, Allocated),
    row(Hook::SglFree, &[Kind::SglFree], Hot, Allocated),
    row(Hook::MmapEnter, &[Kind::Mmap], Hot, Allocated),
    // Runs for everybody who maps pages of whatever driver.
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
    // Shown, and judged by none.
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
    // Nearly all its runs are for other people's reads of sysfs, which it has nothing to write about. Whether one of the
    // tracer's own reads was skipped shows in the answer to that read, and then it is read again.
    row(Hook::Snapshot, &[], Rare, Nothing),
    row(Hook::AllocEnter, &[Kind::AllocAttempt], Rare, Used),
];

impl SkipRow {
    /// The row of a hook.
    #[must_use]
    pub const fn of(hook: Hook) -> &'static Self {
        &TABLE[hook as usize]
    }

    /// A skipped run costs nothing at all.
    #[must_use]
    pub const fn costs_nothing(&self) -> bool {
        self.records.is_empty()
    }
}

const _: () = {
    assert!(TABLE.len() == Hook::ALL.len(), "every hook has a row");
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].hook as usize == index, "the rows are in the order of the hooks");
        index += 1;
    }
};
