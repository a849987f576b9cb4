//! Physical memory as a dump contains it.

use std::{collections::BTreeMap, fmt, io, ops::Range};

use super::{input::ReadAt, joined::Part, vmcoreinfo::VmcoreInfo};

/// A piece of physical memory in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its physical address; in a raw image, its offset.
    pub physical: u64,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The format of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ELF64: `/proc/vmcore`, QEMU's `dump-guest-memory`.
    Elf,
    /// kdump-compressed: makedumpfile, QEMU's `dump-guest-memory` with `format=kdump-*`.
    Kdump,
    /// Ranges of memory, each behind its addresses: `LiME`.
    Lime,
    /// Memory only, without headers.
    Raw,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "ELF",
            Self::Kdump => "kdump-compressed",
            Self::Lime => "LiME image",
            Self::Raw => "raw image",
        })
    }
}

/// The dump's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its format.
    pub format: Format,
    /// True if the dump is in makedumpfile's flattened form.
    pub flattened: bool,
    /// The kernel's description of itself, if the dump has one.
    pub vmcoreinfo: VmcoreInfo,
}

/// Memory that workers read in parts, each part by one worker. Memory that the dump omits is not delivered.
pub trait PhysicalMemory: Sync {
    /// The dump's description of itself.
    fn facts(&self) -> &Facts;

    /// Number of parts.
    fn parts(&self) -> u64;

    /// Approximate number of bytes of the dump in a part, for progress.
    fn weight(&self, part: u64) -> u64;

    /// Reads a part and delivers its pieces, each aligned like its address. Unreadable pieces are noted in
    /// `scratch.skipped`, and reading continues.
    fn read(&self, part: u64, scratch: &mut Scratch, each: &mut dyn FnMut(Chunk<'_>));

    /// Memory that was found missing when the dump was opened.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }

    /// Bytes that are known to be zeros without reading.
    fn holes(&self) -> u64 {
        0
    }

    /// The part's description, if the dump is split.
    fn part(&self) -> Option<Part> {
        None
    }

    /// Number of pages of the complete dump outside these page frames, and the lowest of them.
    fn pages_outside(&self, _frames: &[Range<u64>]) -> (u64, u64) {
        (0, 0)
    }
}

/// Buffers and state that a worker keeps from part to part.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Bytes of the dump.
    pub(super) window: Window,
    /// Descriptors of pages.
    pub(super) table: Vec<u8>,
    /// A decompressed page.
    pub(super) page: Vec<u8>,
    /// Place in the dump of a page that is known to be all zeros: many pages share it.
    pub(super) zero_at: Option<u64>,
    /// Memory that could not be read so far.
    pub skipped: Skipped,
}

/// Why memory was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// The dump ends before it.
    Truncated,
    /// Reading it failed.
    Unreadable,
    /// Its description is invalid.
    Malformed,
    /// Decompressing it failed.
    Undecodable,
    /// Its compression is unknown.
    UnknownCompression,
    /// It is in another part of a split dump.
    Elsewhere,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the dump is truncated",
            Self::Unreadable => "reading failed",
            Self::Malformed => "its description is invalid",
            Self::Undecodable => "decompression failed",
            Self::UnknownCompression => "unknown compression",
            Self::Elsewhere => {
                "it is in other parts of a split dump (makedumpfile --split): name all of them, `recover PART1 PART2 ...`"
            }
        })
    }
}

/// The amount of skipped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of memory.
    pub bytes: u64,
    /// The lowest address.
    pub first: u64,
}

/// Skipped memory, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<SkipReason, Amount>);

impl Skipped {
    /// Adds skipped memory.
    pub(crate) fn add(&mut self, why: SkipReason, physical: u64, bytes: u64) {
        let first = Amount { bytes: 0, first: physical };
        let amount = self.0.entry(why).or_insert(first);
        amount.bytes = amount.bytes.saturating_add(bytes);
        amount.first = amount.first.min(physical);
    }

    /// Adds another collection of skipped memory.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (why, amount) in other.iter() {
            self.add(why, amount.first, amount.bytes);
        }
    }

    /// Every reason with its amount.
    pub fn iter(&self) -> impl Iterator<Item = (SkipReason, Amount)> {
        self.0.iter().map(|(why, amount)| (*why, *amount))
    }

    /// Total bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().fold(0, |sum, (_, amount)| sum.saturating_add(amount.bytes))
    }

    /// True if nothing was skipped.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Maximum bytes of a dump that are read at once.
pub(super) const WINDOW: usize = 1 << 20;

/// A piece of a dump that is read at once, since the bytes needed are close together.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Up to `length` bytes at `offset`; fewer at the end of the dump. `length` may not exceed [`WINDOW`].
    ///
    /// # Errors
    ///
    /// If reading fails.
    pub(super) fn get(&mut self, input: &dyn ReadAt, offset: u64, length: usize) -> io::Result<&[u8]> {
        let length = length.min(WINDOW);
        let end = self.start + self.bytes.len() as u64;
        let is_in = offset >= self.start && offset.saturating_add(length as u64) <= end;
        if !is_in {
            let there = input.size().saturating_sub(offset).min(WINDOW as u64);
            self.bytes.resize(there as usize, 0);
            self.start = offset;
            let read = input.read_at(offset, &mut self.bytes);
            // The previous content is overwritten even if reading failed.
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..self.bytes.len().min(at + length)])
    }
}
