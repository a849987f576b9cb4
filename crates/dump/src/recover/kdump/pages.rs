//! The pages of such a dump. A part covers one block of the bitmap, so that a worker needs to know only the
//! place of the part's first descriptor.

use std::ops::Range;

use super::{codec::Codec, header, header::Header, malformed};
use crate::recover::{
    bytes::{u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    joined::Part,
    memory::{Chunk, Facts, Format, PhysicalMemory, Scratch, SkipReason, Skipped, WINDOW},
};

/// Bytes of a descriptor: offset, size, flags, and flags of the page.
const DESCRIPTOR: usize = 24;
/// Bytes of the bitmap per part: 128 MiB of memory, whose descriptors fit into a window.
const BITMAP: usize = 4096;

/// The pages of a dump.
pub(in crate::recover) struct Pages<R> {
    input: R,
    facts: Facts,
    header: Header,
    /// Number of pages in the dump before each part; one more entry than there are parts.
    before: Vec<u64>,
    skipped: Skipped,
}

impl<R: ReadAt> Pages<R> {
    /// Reads the headers and the bitmap.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are invalid.
    pub(in crate::recover) fn open(input: R, flattened: bool) -> Result<Self, CoreError> {
        let header = header::read(&input)?;
        let facts = Facts { format: Format::Kdump, flattened, vmcoreinfo: header.vmcoreinfo.clone() };
        let (block, mut skipped) = (u64::from(header.block), Skipped::default());
        // The size in the header may be wrong: the bitmap is limited to the file's size.
        let there = input.size().saturating_sub(header.bitmap).min(header.bitmap_bytes);
        if there < header.bitmap_bytes {
            let missing = (header.bitmap_bytes - there).saturating_mul(8).saturating_mul(block);
            skipped.add(SkipReason::Truncated, there.saturating_mul(8).saturating_mul(block), missing);
        }
        if there == 0 {
            return Err(malformed("truncated before its bitmap"));
        }
        let mut pages = Self { input, facts, header, before: vec![0], skipped };
        let (mut bitmap, mut sum) = (Vec::new(), 0);
        for part in 0..there.div_ceil(BITMAP as u64) {
            pages.bitmap(part, &mut bitmap).map_err(CoreError::reading("the bitmap of pages"))?;
            sum += bitmap.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            pages.before.push(sum);
        }
        Ok(pages)
    }

    /// The bitmap of a part, with the bits of pages that have a descriptor in this file.
    fn bitmap(&self, part: u64, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        let start = part * BITMAP as u64;
        let length = self.header.bitmap_bytes.saturating_sub(start).min(BITMAP as u64);
        bytes.resize(length as usize, 0);
        let read = self.input.read_at(self.header.bitmap + start, bytes)?;
        bytes.truncate(read);
        let frames = &self.header.part;
        for (index, byte) in bytes.iter_mut().enumerate() {
            let first = (start + index as u64) * 8;
            if first >= frames.start && first + 8 <= frames.end {
                continue;
            }
            for bit in 0..8 {
                if !frames.contains(&(first + bit)) {
                    *byte &= !(1 << bit);
                }
            }
        }
        Ok(())
    }
}

/// The fields of a descriptor.
#[derive(Clone, Copy)]
struct Descriptor {
    offset: u64,
    size: u32,
    flags: u32,
}

impl Descriptor {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self { offset: u64_at(bytes, 0)?, size: u32_at(bytes, 8)?, flags: u32_at(bytes, 12)? })
    }
}

impl<R: ReadAt> PhysicalMemory for Pages<R> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn parts(&self) -> u64 {
        self.before.len() as u64 - 1
    }

    fn weight(&self, part: u64) -> u64 {
        let bounds = self.before.get(part as usize..part as usize + 2);
        let pages = bounds.map_or(0, |bounds| bounds[1] - bounds[0]);
        pages * u64::from(self.header.block)
    }

    fn read(&self, part: u64, scratch: &mut Scratch, each: &mut dyn FnMut(Chunk<'_>)) {
        let Some(&before) = self.before.get(part as usize) else {
            return;
        };
        let block = u64::from(self.header.block);
        let first = part * BITMAP as u64 * 8;
        let Scratch { window, table, page, zero_at, skipped } = scratch;
        let (mut bitmap, mut codec) = (Vec::new(), Codec::new());
        if self.bitmap(part, &mut bitmap).is_err() {
            return skipped.add(SkipReason::Unreadable, first * block, self.weight(part));
        }
        let count = (self.weight(part) / block) as usize;
        table.resize(count * DESCRIPTOR, 0);
        let at =
            before.checked_mul(DESCRIPTOR as u64).and_then(|skip| self.header.descriptors.checked_add(skip));
        let read = at.and_then(|at| self.input.read_at(at, table).ok());
        table.truncate(read.unwrap_or(0));
        page.resize(block as usize, 0);
        let mut descriptors = table.chunks_exact(DESCRIPTOR);
        for bit in 0..bitmap.len() * 8 {
            if bitmap[bit / 8] >> (bit % 8) & 1 == 0 {
                continue;
            }
            let physical = (first + bit as u64) * block;
            let Some(descriptor) = descriptors.next().and_then(Descriptor::read) else {
                skipped.add(SkipReason::Truncated, physical, block);
                continue;
            };
            if *zero_at == Some(descriptor.offset) {
                continue;
            }
            let size = descriptor.size as usize;
            // A compressed page is no larger than a plain one, or it would not be compressed.
            if size == 0 || size > 2 * page.len() || size > WINDOW {
                skipped.add(SkipReason::Malformed, physical, block);
                continue;
            }
            let input = match window.get(&self.input, descriptor.offset, size) {
                Ok(input) if input.len() == size => input,
                Ok(_) => {
                    skipped.add(SkipReason::Truncated, physical, block);
                    continue;
                }
                Err(_) => {
                    skipped.add(SkipReason::Unreadable, physical, block);
                    continue;
                }
            };
            match codec.decode(descriptor.flags, input, page) {
                Ok(()) => {
                    if zero_at.is_none() && page.iter().all(|&byte| byte == 0) {
                        *zero_at = Some(descriptor.offset);
                    }
                    each(Chunk { physical, bytes: page });
                }
                Err(why) => skipped.add(why, physical, block),
            }
        }
    }

    fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }

    fn part(&self) -> Option<Part> {
        let Header { frames, part, is_split, block, .. } = &self.header;
        is_split.then(|| Part { frames: part.clone(), all: *frames, page: u64::from(*block) })
    }

    fn pages_outside(&self, frames: &[Range<u64>]) -> (u64, u64) {
        let (mut pages, mut lowest, mut bytes) = (0, None, Vec::new());
        for part in 0..self.parts() {
            let start = part * BITMAP as u64;
            bytes.resize(self.header.bitmap_bytes.saturating_sub(start).min(BITMAP as u64) as usize, 0);
            let read = self.input.read_at(self.header.bitmap + start, &mut bytes).unwrap_or(0);
            for (index, byte) in bytes[..read].iter().enumerate().filter(|(_, byte)| **byte != 0) {
                for frame in
                    (0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| (start + index as u64) * 8 + bit)
                {
                    if !frames.iter().any(|range| range.contains(&frame)) {
                        pages += 1;
                        lowest = lowest.or(Some(frame));
                    }
                }
            }
        }
        (pages, lowest.unwrap_or(0))
    }
}
