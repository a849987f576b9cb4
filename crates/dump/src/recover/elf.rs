//! ELF64 memory dumps: `/proc/vmcore`, QEMU's `dump-guest-memory`, virsh, makedumpfile -E. Memory is in
//! `PT_LOAD` segments, each with its physical address in `p_paddr` (ELF-64 object file format, version 1.5).

use p2p_trace_model::{names::elf_machine, text::Text};

use super::{
    bytes::{u16_at, u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    memory::{Facts, Format},
    segments::Segment,
    vmcoreinfo::{self, VmcoreInfo},
};

/// First bytes of such a file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";
/// Size of the file's header.
pub(super) const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
/// In `e_phnum`: the number is in `sh_info` of the first section header.
const PN_XNUM: u16 = 0xffff;
/// More segments than any machine has memory regions.
const MAX_SEGMENTS: u32 = 1 << 20;

const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// The place of the program headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Offset in the file.
    pub(super) offset: u64,
    /// Bytes of all program headers; `Err`: the number is in the first section header, at this offset.
    pub(super) bytes: Result<usize, u64>,
}

/// The content of the program headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Memory segments, in the order of the file.
    pub(super) segments: Vec<Segment>,
    /// Offset and size of the notes.
    pub(super) notes: Vec<(u64, u64)>,
}

fn malformed(problem: impl Into<Text>) -> CoreError {
    CoreError::Malformed { format: Format::Elf, problem: problem.into() }
}

/// Reads the file's header.
pub(super) fn header(bytes: &[u8]) -> Result<Header, CoreError> {
    let cut = || malformed("truncated in its header");
    let (class, order) = (*bytes.get(4).ok_or_else(cut)?, *bytes.get(5).ok_or_else(cut)?);
    let (kind, machine) = u16_at(bytes, 16).zip(u16_at(bytes, 18)).ok_or_else(cut)?;
    let machine = if order == ELFDATA2LSB { machine } else { machine.swap_bytes() };
    if machine != EM_X86_64 {
        let machine = elf_machine(machine);
        return Err(CoreError::Foreign(
            format!("this ELF file is for {machine}, but p2p-trace supports x86-64 only").into(),
        ));
    }
    if class != ELFCLASS64 || order != ELFDATA2LSB {
        return Err(CoreError::Unsupported("this ELF file is not for a little-endian 64-bit machine"));
    }
    if kind != ET_CORE {
        return Err(CoreError::Unsupported("this ELF file is a program or library, not a memory dump"));
    }
    let (offset, sections) = u64_at(bytes, 32).zip(u64_at(bytes, 40)).ok_or_else(cut)?;
    let (size, count) = u16_at(bytes, 54).zip(u16_at(bytes, 56)).ok_or_else(cut)?;
    if usize::from(size) != PROGRAM_HEADER {
        return Err(malformed(format!("its program headers have an invalid size of {size} bytes")));
    }
    let bytes = if count == PN_XNUM { Err(sections) } else { Ok(usize::from(count) * PROGRAM_HEADER) };
    Ok(Header { offset, bytes })
}

/// Bytes of the program headers, according to the first section header.
fn extended_size(section: &[u8]) -> Result<usize, CoreError> {
    let count = u32_at(section, 44).ok_or_else(|| malformed("truncated before its section header"))?;
    if count > MAX_SEGMENTS {
        return Err(malformed(format!("implausible number of segments: {count}")));
    }
    Ok(count as usize * PROGRAM_HEADER)
}

/// Reads all program headers that are present.
pub(super) fn layout(headers: &[u8]) -> Layout {
    let mut layout = Layout::default();
    for header in headers.chunks_exact(PROGRAM_HEADER) {
        let field = |offset| u64_at(header, offset).unwrap_or_default();
        let (offset, physical, size) = (field(8), field(24), field(32));
        match u32_at(header, 0) {
            Some(PT_LOAD) => layout.segments.push(Segment { physical, offset, size }),
            Some(PT_NOTE) => layout.notes.push((offset, size)),
            _ => {}
        }
    }
    layout.segments.sort_by_key(|segment| segment.offset);
    layout
}

/// Opens an ELF dump.
pub(super) fn open(input: &dyn ReadAt, flattened: bool) -> Result<(Facts, Vec<Segment>), CoreError> {
    let start = input.bytes(0, HEADER).map_err(CoreError::reading("the ELF header"))?;
    let header = header(&start)?;
    let bytes = match header.bytes {
        Ok(bytes) => bytes,
        Err(section) => extended_size(
            &input.bytes(section, SECTION_HEADER).map_err(CoreError::reading("the first section header"))?,
        )?,
    };
    let headers = input.bytes(header.offset, bytes).map_err(CoreError::reading("the program headers"))?;
    if headers.len() < bytes {
        tracing::warn!("the dump is truncated in its program headers: only a part of its memory is known");
    }
    let layout = layout(&headers);
    if layout.segments.is_empty() {
        return Err(malformed("no memory segments (PT_LOAD)"));
    }
    let mut notes = layout.notes.iter().take(8);
    let vmcoreinfo = notes
        .find_map(|&(offset, size)| {
            let length = size.min(4 * vmcoreinfo::LIMIT as u64) as usize;
            VmcoreInfo::find(&input.bytes(offset, length).ok()?)
        })
        .unwrap_or_default();
    let facts = Facts { format: Format::Elf, flattened, vmcoreinfo };
    Ok((facts, layout.segments))
}
