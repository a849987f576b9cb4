//! Opens the memory in a dump file.

use std::ops::Range;

use super::{
    elf,
    error::CoreError,
    flattened::{self, Flattened},
    foreign::{self, PREFIX},
    input::ReadAt,
    joined::Part,
    kdump, lime,
    memory::{Facts, Format, PhysicalMemory, Skipped},
    segments::{Segment, Segments},
    vmcoreinfo::VmcoreInfo,
};

/// Kind of a file by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain(Format),
    Flattened,
}

/// Detects the kind by the first bytes.
pub(super) fn kind(prefix: &[u8]) -> Kind {
    if prefix.starts_with(flattened::MAGIC) {
        Kind::Flattened
    } else if prefix.starts_with(elf::MAGIC) {
        Kind::Plain(Format::Elf)
    } else if prefix.starts_with(kdump::MAGIC) {
        Kind::Plain(Format::Kdump)
    } else if prefix.starts_with(lime::MAGIC) {
        Kind::Plain(Format::Lime)
    } else {
        Kind::Plain(Format::Raw)
    }
}

/// Refuses files that are not images of memory.
pub(super) fn refuse(prefix: &[u8]) -> Result<(), CoreError> {
    if prefix.is_empty() {
        return Err(CoreError::Foreign("the file is empty".into()));
    }
    match foreign::container(prefix) {
        Some(message) => {
            Err(CoreError::Foreign(format!("{message} (--format raw searches the file as is)").into()))
        }
        None => Ok(()),
    }
}

/// Opens a memory dump of the detected or the given format.
///
/// # Errors
///
/// If it cannot be read, or is invalid for the format.
pub fn open<'a>(
    input: impl ReadAt + 'a,
    format: Option<Format>,
) -> Result<Box<dyn PhysicalMemory + 'a>, CoreError> {
    let prefix = input.bytes(0, PREFIX).map_err(CoreError::reading("the first bytes"))?;
    if format != Some(Format::Raw) || prefix.is_empty() {
        refuse(&prefix)?;
    }
    match (kind(&prefix), format) {
        (_, Some(Format::Raw)) => plain(input, Format::Raw, false),
        (Kind::Flattened, format) => {
            let inner = Flattened::new(input)?;
            let missing = inner.skipped().clone();
            let prefix = inner
                .bytes(0, PREFIX)
                .map_err(CoreError::reading("the first bytes of the flattened dump"))?;
            refuse(&prefix)?;
            let found = match kind(&prefix) {
                Kind::Plain(format) => format,
                Kind::Flattened => return Err(CoreError::Unsupported("this dump is flattened twice")),
            };
            let format = match format.unwrap_or(found) {
                // Raw images are never flattened: the beginning is missing.
                Format::Raw => {
                    return Err(CoreError::Unsupported(
                        "the start of this flattened dump is missing; `makedumpfile -R` reassembles the rest",
                    ));
                }
                format => format,
            };
            let memory = plain(inner, format, true)?;
            Ok(Box::new(Incomplete { memory, missing }))
        }
        (Kind::Plain(found), format) => plain(input, format.unwrap_or(found), false),
    }
}

fn plain<'a>(
    input: impl ReadAt + 'a,
    format: Format,
    flattened: bool,
) -> Result<Box<dyn PhysicalMemory + 'a>, CoreError> {
    Ok(match format {
        Format::Elf => {
            let (facts, segments) = elf::open(&input, flattened)?;
            Box::new(Segments::new(input, facts, segments))
        }
        Format::Kdump => Box::new(kdump::Pages::open(input, flattened)?),
        Format::Lime => {
            let segments = lime::segments(&input)?;
            let facts = Facts { format, ..raw(flattened) };
            Box::new(Segments::new(input, facts, segments))
        }
        Format::Raw => {
            let facts = raw(flattened);
            let all = Segment { physical: 0, offset: 0, size: input.size() };
            Box::new(Segments::new(input, facts, [all]))
        }
    })
}

/// The facts about a raw image.
pub(super) fn raw(flattened: bool) -> Facts {
    Facts { format: Format::Raw, flattened, vmcoreinfo: VmcoreInfo::default() }
}

/// Memory with parts that were missing before it was opened.
struct Incomplete<'a> {
    memory: Box<dyn PhysicalMemory + 'a>,
    missing: Skipped,
}

impl PhysicalMemory for Incomplete<'_> {
    fn facts(&self) -> &Facts {
        self.memory.facts()
    }

    fn parts(&self) -> u64 {
        self.memory.parts()
    }

    fn weight(&self, part: u64) -> u64 {
        self.memory.weight(part)
    }

    fn read(
        &self,
        part: u64,
        scratch: &mut super::memory::Scratch,
        each: &mut dyn FnMut(super::memory::Chunk<'_>),
    ) {
        self.memory.read(part, scratch, each);
    }

    fn skipped(&self) -> Skipped {
        let mut skipped = self.missing.clone();
        skipped.merge(&self.memory.skipped());
        skipped
    }

    fn holes(&self) -> u64 {
        self.memory.holes()
    }

    fn part(&self) -> Option<Part> {
        self.memory.part()
    }

    fn pages_outside(&self, frames: &[Range<u64>]) -> (u64, u64) {
        self.memory.pages_outside(frames)
    }
}
