//! What `words`, `number` and `small` of a record mean, by kind. `docs/events.md` shows this table.

use p2p_trace_common::{Kind, valid};

/// The meaning of one of the four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing; zero.
    Unused,
    /// Bytes.
    Size,
    /// Bytes from the start of the BAR.
    Offset,
    /// Return address of the traced function.
    Caller,
    /// First physical address of a range.
    Start,
    /// Last physical address of a range.
    End,
    /// Direct-map address.
    Addr,
    /// Physical address.
    Physical,
    /// Cgroup id.
    Cgroup,
    /// Address of a scatter list.
    Sgl,
    /// User virtual address.
    UserAddr,
    /// Address of a `struct page`.
    Page,
    /// Time of the first of what was counted.
    FirstNs,
    /// Time of the last of what was counted.
    LastNs,
    /// PCI address of the device that maps: domain in the high half, bus and devfn in the low 16 bits.
    Client,
    /// Bytes allocated.
    Allocated,
    /// Reference count.
    Refs,
    /// Nanoseconds since a task was last given a CPU.
    Waiting,
    /// Nanoseconds that the machine had been suspended since it was started.
    Asleep,
}

/// The meaning of `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Nothing; zero.
    Unused,
    /// The result as an `i32`.
    Ret,
    /// A number of pages, entries or ranges.
    Count,
    /// Bits of [`p2p_trace_common::state`].
    State,
    /// The low half of a reference's address; without it, in older records, a number of ranges.
    ReferenceOrCount,
}

/// The meaning of `small`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Small {
    /// Nothing; zero.
    Unused,
    /// BAR number.
    Bar,
    /// A boolean: an argument, or what was found.
    Flag,
    /// The result as an `i16`.
    Ret,
    /// CPU on which a burst was counted; valid with the span.
    BurstCpu,
    /// Bits of [`p2p_trace_common::state`] and the number of the chunk.
    State,
    /// Of [`p2p_trace_common::state`], who hands out the pages, and in the place of the chunk a number of ranges.
    Killed,
    /// The lowest bit: memory is out; and who hands out the pages.
    Out,
}

/// The part of a record that differs by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `words`.
    pub words: [Word; 4],
    /// `number`.
    pub number: Number,
    /// `small`.
    pub small: Small,
}

impl Layout {
    /// The layout of records of `kind`; nothing but the common part for kinds that have a layout of their own.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        use Word::{
            Addr, Allocated, Asleep, Caller, Cgroup, Client, End, FirstNs, LastNs, Offset, Page, Physical,
            Refs, Sgl, Size, Start, Unused, UserAddr, Waiting,
        };
        let (words, number, small) = match kind {
            Kind::AddResource => ([Size, Offset, Caller, Unused], Number::Ret, Small::Bar),
            Kind::Memremap => ([Start, End, Caller, Addr], Number::Ret, Small::Unused),
            Kind::Publish => ([Unused, Unused, Caller, Unused], Number::Unused, Small::Flag),
            Kind::Alloc => ([Addr, Size, Caller, Cgroup], Number::Unused, Small::Flag),
            Kind::Free => ([Addr, Size, Caller, Unused], Number::Unused, Small::Unused),
            Kind::SglAlloc => ([Sgl, Size, Caller, Cgroup], Number::Count, Small::Unused),
            Kind::SglFree => ([Sgl, Unused, Caller, Unused], Number::Unused, Small::Unused),
            Kind::Mmap => ([UserAddr, Size, Page, Cgroup], Number::Count, Small::Ret),
            Kind::PageFree => ([Page, FirstNs, LastNs, Unused], Number::Count, Small::BurstCpu),
            Kind::Map | Kind::Unmap => ([Page, Physical, Caller, Client], Number::Count, Small::Unused),
            Kind::VirtToBus => ([Addr, Unused, Caller, Unused], Number::Unused, Small::Unused),
            Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease => {
                ([Unused, Unused, Caller, Unused], Number::Count, Small::Out)
            }
            Kind::Unbound
            | Kind::DriverRemoved
            | Kind::DevresReleased
            | Kind::UnmapMappings
            | Kind::MemremapRelease => ([Unused, Unused, Caller, Unused], Number::Unused, Small::Unused),
            Kind::Kill => ([Start, End, Allocated, Refs], Number::ReferenceOrCount, Small::Killed),
            Kind::Drained => ([Start, End, Unused, Refs], Number::Unused, Small::Unused),
            Kind::Remove => ([Start, End, Allocated, Refs], Number::State, Small::Flag),
            Kind::Unmapped => ([Start, End, Unused, Unused], Number::Unused, Small::Unused),
            Kind::Release | Kind::Released => {
                ([Unused, Unused, Allocated, Unused], Number::Unused, Small::Unused)
            }
            Kind::RangeState => ([Physical, Addr, Allocated, Refs], Number::Count, Small::State),
            Kind::DeviceState => ([Waiting, Unused, Allocated, Unused], Number::Count, Small::Flag),
            Kind::AllocAttempt => ([Unused, Size, Caller, Unused], Number::Unused, Small::Unused),
            Kind::AllocatedRun => ([Addr, Size, Unused, Unused], Number::Unused, Small::Unused),
            Kind::SnapshotEnd => ([FirstNs, LastNs, Unused, Unused], Number::Count, Small::Flag),
            Kind::Tick => ([Asleep, Unused, Unused, Unused], Number::Unused, Small::Unused),
            Kind::HolderExited => ([FirstNs, LastNs, Unused, Unused], Number::Unused, Small::Unused),
            Kind::Stack | Kind::Loss | Kind::Attach | Kind::End => {
                ([Unused; 4], Number::Unused, Small::Unused)
            }
        };
        Self { words, number, small }
    }
}

impl Word {
    /// The bit of [`valid`] that says whether the word holds anything; 0 for an unused one.
    #[must_use]
    pub const fn flag(self) -> u32 {
        match self {
            Self::Unused => 0,
            Self::Size => valid::SIZE,
            Self::Offset => valid::OFFSET,
            Self::Caller => valid::CALLER,
            Self::Start | Self::End => valid::RANGE,
            Self::Addr => valid::ADDR,
            Self::Physical => valid::PHYSICAL,
            Self::Cgroup => valid::CGROUP,
            Self::Sgl => valid::SGL,
            Self::UserAddr => valid::USER_ADDR,
            Self::Page => valid::PAGE,
            Self::FirstNs | Self::LastNs => valid::SPAN,
            Self::Client => valid::CLIENT,
            Self::Allocated => valid::ALLOCATED,
            Self::Refs => valid::REFS,
            Self::Waiting | Self::Asleep => valid::WAITING,
        }
    }
}

impl Number {
    /// As [`Word::flag`].
    pub(crate) const fn flag(self) -> u32 {
        match self {
            Self::Unused => 0,
            Self::Ret => valid::RET,
            Self::Count => valid::COUNT,
            Self::State => valid::STATE,
            Self::ReferenceOrCount => valid::REFERENCE,
        }
    }
}

impl Small {
    /// As [`Word::flag`].
    pub(crate) const fn flag(self) -> u32 {
        match self {
            Self::Unused => 0,
            Self::Bar => valid::BAR,
            Self::Flag | Self::Out => valid::FLAG,
            Self::Ret => valid::RET,
            Self::BurstCpu => valid::SPAN,
            Self::State | Self::Killed => valid::STATE,
        }
    }
}
