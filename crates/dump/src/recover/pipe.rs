//! Dumps from a pipe, in the formats that can be searched sequentially.

use std::io::{self, Read};

use super::{
    elf,
    error::CoreError,
    foreign::PREFIX,
    memory::{Chunk, Facts, Format, SkipReason, Skipped, WINDOW},
    open::{Kind, kind, raw, refuse},
    segments::Segment,
    vmcoreinfo::{self, VmcoreInfo},
};
use crate::recover::search::{Carved, Collector, Common, Progress, Search};

/// Maximum size of the headers and notes in front of the memory of an ELF dump.
const MAX_HEAD: usize = 64 << 20;

/// Searches a dump that can be read only once.
///
/// # Errors
///
/// If it cannot be read, is malformed, or needs random access.
pub fn carve_pipe(
    input: impl Read,
    format: Option<Format>,
    search: Search,
    report: impl FnMut(Progress),
) -> Result<(Facts, Carved), CoreError> {
    let mut pipe = Pipe {
        input,
        head: Vec::new(),
        at: 0,
        buffer: Vec::new(),
        common: Common::new(search),
        collector: Collector::default(),
        skipped: Skipped::default(),
        report,
    };
    pipe.need(PREFIX)?;
    if format != Some(Format::Raw) || pipe.head.is_empty() {
        refuse(&pipe.head)?;
    }
    let format = match (kind(&pipe.head), format) {
        (_, Some(Format::Raw)) => Format::Raw,
        (Kind::Flattened, _) => return Err(CoreError::NeedsFile("flattened dump")),
        (Kind::Plain(found), format) => format.unwrap_or(found),
    };
    let facts = match format {
        Format::Elf => pipe.elf()?,
        Format::Lime => return Err(CoreError::NeedsFile("LiME image")),
        Format::Kdump => return Err(CoreError::NeedsFile("kdump-compressed dump")),
        Format::Raw => {
            pipe.segment(Segment { physical: 0, offset: 0, size: u64::MAX });
            raw(false)
        }
    };
    Ok((facts, pipe.collector.finish(pipe.skipped)))
}

struct Pipe<R, F> {
    input: R,
    /// The bytes read before the format was known.
    head: Vec<u8>,
    /// Number of bytes consumed from the pipe.
    at: u64,
    buffer: Vec<u8>,
    common: Common,
    collector: Collector,
    skipped: Skipped,
    report: F,
}

impl<R: Read, F: FnMut(Progress)> Pipe<R, F> {
    /// Reads until `head` has `length` bytes, or the pipe ends.
    fn need(&mut self, length: usize) -> Result<(), CoreError> {
        let missing = length.saturating_sub(self.head.len()) as u64;
        self.input
            .by_ref()
            .take(missing)
            .read_to_end(&mut self.head)
            .map_err(CoreError::reading("the start of the dump"))?;
        Ok(())
    }

    fn elf(&mut self) -> Result<Facts, CoreError> {
        self.need(elf::HEADER)?;
        let header = elf::header(&self.head)?;
        let end = header
            .bytes
            .ok()
            .and_then(|bytes| usize::try_from(header.offset).ok()?.checked_add(bytes))
            .filter(|&end| end <= MAX_HEAD)
            .ok_or(CoreError::NeedsFile("dump whose program headers are not at its start"))?;
        self.need(end)?;
        let layout = elf::layout(self.head.get(header.offset as usize..).unwrap_or_default());
        let first = layout.segments.first().map_or(0, |segment| segment.offset);
        // Notes in front of the memory are read, others are skipped.
        let mut vmcoreinfo = VmcoreInfo::default();
        for &(offset, size) in layout.notes.iter().take(8) {
            let end = offset.saturating_add(size.min(4 * vmcoreinfo::LIMIT as u64));
            if end > first.min(MAX_HEAD as u64) {
                continue;
            }
            self.need(end as usize)?;
            let notes = self.head.get(offset as usize..).unwrap_or_default();
            vmcoreinfo = VmcoreInfo::find(&notes[..notes.len().min(size as usize)]).unwrap_or(vmcoreinfo);
        }
        for segment in layout.segments {
            self.segment(segment);
        }
        Ok(Facts { format: Format::Elf, flattened: false, vmcoreinfo })
    }

    /// Skips to a segment and searches it.
    fn segment(&mut self, segment: Segment) {
        let end = segment.offset.saturating_add(segment.size);
        let mut physical = segment.physical;
        while self.at < end {
            let is_before = self.at < segment.offset;
            let limit = if is_before { segment.offset } else { end };
            if !is_before {
                physical = segment.physical.wrapping_add(self.at - segment.offset);
            }
            // Full windows from the segment's start, so that no slot is split.
            let length = (limit - self.at).min(WINDOW as u64) as usize;
            let filled = self.fill(length);
            let read = self.buffer.len();
            if !is_before {
                self.collector.feed(&self.common, Chunk { physical, bytes: &self.buffer });
                let progress = self.common.progress(self.at + read as u64);
                (self.report)(progress);
            }
            self.at += read as u64;
            if filled.is_err() || read < length {
                if end != u64::MAX {
                    let why = if filled.is_err() { SkipReason::Unreadable } else { SkipReason::Truncated };
                    let from = self.at.max(segment.offset);
                    let first = segment.physical.wrapping_add(from - segment.offset);
                    self.skipped.add(why, first, end - from);
                }
                return;
            }
        }
    }

    /// Reads the next bytes into the buffer, those of the head first.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        let known = usize::try_from(self.at).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        self.buffer.clear();
        self.buffer.extend(&known[..known.len().min(length)]);
        let missing = (length - self.buffer.len()) as u64;
        // Bytes read before an error stay in the buffer.
        self.input.by_ref().take(missing).read_to_end(&mut self.buffer)?;
        Ok(())
    }
}
