//! Physical memory as a dump holds it.

use std::{collections::BTreeMap, fmt, io, ops::Range};

use super::{input::ReadAt, joined::Part, vmcoreinfo::VmcoreInfo};

/// A piece of physical memory that the dump holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Where it lay; in a raw image, where it lies in that.
    pub physical: u64,
    /// What it held.
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
    /// Nothing but memory.
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

/// What a dump says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its format.
    pub format: Format,
    /// It lies in makedumpfile's flattened form.
    pub flattened: bool,
    /// What the kernel said of itself, where the dump has that.
    pub vmcoreinfo: VmcoreInfo,
}

/// Memory that workers read in parts, each part by one of them. What the dump leaves out is not handed out.
pub trait PhysicalMemory: Sync {
    /// What the dump says of itself.
    fn facts(&self) -> &Facts;

    /// How many parts there are.
    fn parts(&self) -> u64;

    /// Bytes of the dump that lie in a part, about: for progress.
    fn weight(&self, part: u64) -> u64;

    /// Reads a part and hands out what it holds, each piece aligned as its address is. What cannot be read is noted in
    /// `scratch.skipped`, and the rest goes on.
    fn read(&self, part: u64, scratch: &mut Scratch, each: &mut dyn FnMut(Chunk<'_>));

    /// What was found to be missing when the dump was opened.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }

    /// Bytes that are known to be zeros without being read.
    fn holes(&self) -> u64 {
        0
    }

    /// Which part of a split dump it is, if it is one.
    fn part(&self) -> Option<Part> {
        None
    }

    /// How many pages the whole dump has outside of these page frames, and the lowest of them.
    fn pages_outside(&self, _frames: &[Range<u64>]) -> (u64, u64) {
        (0, 0)
    }
}

/// What a worker keeps from part to part.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Bytes of the dump.
    pub(super) window: Window,
    /// Descriptors of pages.
    pub(super) table: Vec<u8>,
    /// A page that was decompressed.
    pub(super) page: Vec<u8>,
    /// Where in the dump a page lies that is known to be all zeros: many share it.
    pub(super) zero_at: Option<u64>,
    /// What could not be read so far.
    pub skipped: Skipped,
}

/// Why memory that should be there was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The dump ends before it.
    Truncated,
    /// It cannot be read.
    Unreadable,
    /// Its description makes no sense.
    Malformed,
    /// It cannot be decompressed.
    Undecodable,
    /// It is compressed in a way that is not known.
    UnknownCompression,
    /// It is in another part of a dump that was split.
    Elsewhere,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the dump ends before it",
            Self::Unreadable => "it cannot be read",
            Self::Malformed => "its description makes no sense",
            Self::Undecodable => "it cannot be decompressed",
            Self::UnknownCompression => "it is compressed in an unknown way",
            Self::Elsewhere => {
                "it is in other parts of a dump that was split (makedumpfile --split): name all of them, `recover PART1 PART2 ...`"
            }
        })
    }
}

/// How much was skipped for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of memory.
    pub bytes: u64,
    /// The lowest address among them.
    pub first: u64,
}

/// What was skipped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<Why, Amount>);

impl Skipped {
    /// Notes memory that was skipped.
    pub(crate) fn add(&mut self, why: Why, physical: u64, bytes: u64) {
        let first = Amount { bytes: 0, first: physical };
        let amount = self.0.entry(why).or_insert(first);
        amount.bytes = amount.bytes.saturating_add(bytes);
        amount.first = amount.first.min(physical);
    }

    /// Adds what somebody else skipped.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (why, amount) in other.iter() {
            self.add(why, amount.first, amount.bytes);
        }
    }

    /// Every reason with its amount.
    pub fn iter(&self) -> impl Iterator<Item = (Why, Amount)> {
        self.0.iter().map(|(why, amount)| (*why, *amount))
    }

    /// Bytes of memory in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().fold(0, |sum, (_, amount)| sum.saturating_add(amount.bytes))
    }

    /// Nothing was skipped.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How much of a dump is read at once.
pub(super) const WINDOW: usize = 1 << 20;

/// A piece of a dump that is read at once, since what is wanted of it lies close together.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Up to `length` bytes at `offset`; fewer where the dump ends. `length` may be no more than [`WINDOW`].
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn get(&mut self, input: &dyn ReadAt, offset: u64, length: usize) -> io::Result<&[u8]> {
        let length = length.min(WINDOW);
        let end = self.start + self.bytes.len() as u64;
        let is_in = offset >= self.start && offset.saturating_add(length as u64) <= end;
        if !is_in {
            let there = input.size().saturating_sub(offset).min(WINDOW as u64);
            self.bytes.resize(there as usize, 0);
            self.start = offset;
            let read = input.read_at(offset, &mut self.bytes);
            // What was in it is overwritten, whether that went well or not.
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..self.bytes.len().min(at + length)])
    }
}
