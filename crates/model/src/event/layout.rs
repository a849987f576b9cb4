//! The meaning of a record's `words`, `number`, and `small`, by kind. `docs/events.md` shows this table.

use p2p_trace_common::{Kind, valid};

/// The meaning of one of the four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Unused; zero.
    Unused,
    /// Bytes.
    Size,
    /// Bytes from the start of the BAR.
    Offset,
    /// Return address of the traced function, in its caller.
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
    /// Time of the first counted page or call.
    FirstNs,
    /// Time of the last counted page or call.
    LastNs,
    /// PCI address of the device that maps the memory: the domain is in the high half, bus and devfn in the
    /// low 16 bits.
    Client,
    /// Bytes allocated.
    Allocated,
    /// Reference count.
    Refs,
    /// Nanoseconds since a task last ran on a CPU.
    Waiting,
    /// Nanoseconds that the machine has been suspended since boot.
    Asleep,
}

/// The meaning of `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Unused; zero.
    Unused,
    /// The return value as an `i32`.
    Ret,
    /// A number of pages, entries or ranges.
    Count,
    /// Bits of [`p2p_trace_common::state`].
    State,
    /// The low half of a reference's address. In older records, which lack the flag, a number of ranges.
    ReferenceOrCount,
}

/// The meaning of `small`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Small {
    /// Unused; zero.
    Unused,
    /// BAR number.
    Bar,
    /// A boolean: an argument, or an observed state.
    Flag,
    /// The return value as an `i16`.
    Ret,
    /// CPU on which a burst was counted. Valid with the span.
    BurstCpu,
    /// Bits of [`p2p_trace_common::state`], and the number of the chunk.
    State,
    /// The bits of [`p2p_trace_common::state`] that say whether the pool allocates the pages, and a number of
    /// ranges in place of the chunk.
    Killed,
    /// Bit 0: the device has outstanding memory. Other bits: whether the pool allocates the pages.
    Outstanding,
}

/// The parts of a record whose meaning depends on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The meanings of `words`.
    pub words: [Word; 4],
    /// The meaning of `number`.
    pub number: Number,
    /// The meaning of `small`.
    pub small: Small,
}

impl Layout {
    /// The layout of records of `kind`. Empty for kinds that have a layout of their own.
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
                ([Unused, Unused, Caller, Unused], Number::Count, Small::Outstanding)
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
    /// The bit of [`valid`] that says whether the word is set, or 0 for an unused one.
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
    /// Like [`Word::flag`].
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
    /// Like [`Word::flag`].
    pub(crate) const fn flag(self) -> u32 {
        match self {
            Self::Unused => 0,
            Self::Bar => valid::BAR,
            Self::Flag | Self::Outstanding => valid::FLAG,
            Self::Ret => valid::RET,
            Self::BurstCpu => valid::SPAN,
            Self::State | Self::Killed => valid::STATE,
        }
    }
}
