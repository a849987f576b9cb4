//! Memory that a dump stores uncompressed: ELF segments, or a complete file.

use super::{
    input::ReadAt,
    memory::{Chunk, Facts, PhysicalMemory, Scratch, SkipReason, Skipped, WINDOW},
};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Physical address of its first byte.
    pub(super) physical: u64,
    /// Offset of that byte in the dump.
    pub(super) offset: u64,
    /// Size in bytes in the dump.
    pub(super) size: u64,
}

impl Segment {
    /// Removes its first bytes.
    fn skip(&mut self, bytes: u64) {
        let bytes = bytes.min(self.size);
        self.physical = self.physical.wrapping_add(bytes);
        self.offset += bytes;
        self.size -= bytes;
    }
}

/// Memory in segments.
pub(super) struct Segments<R> {
    input: R,
    facts: Facts,
    /// The segments, each with the number of its first part.
    kept: Vec<(u64, Segment)>,
    parts: u64,
    skipped: Skipped,
    holes: u64,
}

/// If a segment has more stretches than this, it is treated as one.
const MAX_STRETCHES: usize = 1 << 16;

/// The stretches of a segment that may contain non-zero bytes, in full pages, so that no slot is split.
fn stretches(input: &impl ReadAt, segment: Segment, mut each: impl FnMut(Segment)) {
    let (end, mut at, mut count) = (segment.offset + segment.size, segment.offset, 0);
    while at < end
        && let Some(data) = input.data(at)
        && data.start < end
    {
        count += 1;
        let from = at.max(data.start) - segment.offset;
        let to = if count < MAX_STRETCHES { data.end.min(end) } else { end };
        let skip = (from - from % PAGE).max(at - segment.offset);
        let to = (to - segment.offset).next_multiple_of(PAGE).min(segment.size);
        if to <= skip {
            break;
        }
        each(Segment {
            physical: segment.physical.wrapping_add(skip),
            offset: segment.offset + skip,
            size: to - skip,
        });
        at = segment.offset + to;
    }
}

impl<R: ReadAt> Segments<R> {
    /// The parts of `segments`, in the order of their offsets, that lie within `input`; the rest is noted as
    /// skipped. No byte is read twice, even if segments overlap.
    pub(super) fn new(input: R, facts: Facts, segments: impl IntoIterator<Item = Segment>) -> Self {
        let (mut parts, mut skipped, mut kept, mut holes) = (0u64, Skipped::default(), Vec::new(), 0u64);
        let mut end = 0u64;
        for mut segment in segments {
            segment.skip(end.saturating_sub(segment.offset));
            end = end.max(segment.offset.saturating_add(segment.size));
            let there = input.size().saturating_sub(segment.offset).min(segment.size);
            if there < segment.size {
                let first = segment.physical.saturating_add(there);
                skipped.add(SkipReason::Truncated, first, segment.size - there);
            }
            segment.size = there;
            let mut data = 0u64;
            stretches(&input, segment, |stretch| {
                kept.push((parts, stretch));
                parts = parts.saturating_add(stretch.size.div_ceil(WINDOW as u64));
                data += stretch.size;
            });
            holes = holes.saturating_add(there - data);
        }
        Self { input, facts, kept, parts, skipped, holes }
    }

    /// The address, offset and size of a part.
    fn part(&self, part: u64) -> Option<Segment> {
        let index = self.kept.partition_point(|(first, _)| *first <= part);
        let (first, segment) = self.kept.get(index.checked_sub(1)?)?;
        let skip = (part - first).checked_mul(WINDOW as u64)?;
        Some(Segment {
            physical: segment.physical.wrapping_add(skip),
            offset: segment.offset.checked_add(skip)?,
            size: segment.size.checked_sub(skip)?.min(WINDOW as u64),
        })
    }
}

impl<R: ReadAt> PhysicalMemory for Segments<R> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn parts(&self) -> u64 {
        self.parts
    }

    fn weight(&self, part: u64) -> u64 {
        self.part(part).map_or(0, |part| part.size)
    }

    fn read(&self, part: u64, scratch: &mut Scratch, each: &mut dyn FnMut(Chunk<'_>)) {
        let Some(part) = self.part(part) else { return };
        let Scratch { window, skipped, .. } = scratch;
        match window.get(&self.input, part.offset, part.size as usize) {
            Ok(bytes) => {
                let missing = part.size - bytes.len() as u64;
                if missing > 0 {
                    let first = part.physical.wrapping_add(bytes.len() as u64);
                    skipped.add(SkipReason::Truncated, first, missing);
                }
                each(Chunk { physical: part.physical, bytes });
            }
            Err(_) => skipped.add(SkipReason::Unreadable, part.physical, part.size),
        }
    }

    fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }

    fn holes(&self) -> u64 {
        self.holes
    }
}
