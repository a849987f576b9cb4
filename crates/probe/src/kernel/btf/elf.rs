//! BTF in an ELF file: a vmlinux, or the unpacked payload of a kernel image.

use object::{
    LittleEndian,
    elf::{ELFMAG, FileHeader64},
    read::elf::{FileHeader as _, SectionHeader as _},
};

use super::BtfError;

pub(super) fn is_elf(data: &[u8]) -> bool {
    data.starts_with(&ELFMAG)
}

/// The contents of the `.BTF` section of a 64-bit little-endian ELF file.
pub(super) fn extract(data: &[u8]) -> Result<Vec<u8>, BtfError> {
    find(data).map(<[u8]>::to_vec).ok_or(BtfError::NoElfSection)
}

fn find(data: &[u8]) -> Option<&[u8]> {
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let (_, section) = header.sections(endian, data).ok()?.section_by_name(endian, b".BTF")?;
    section.data(endian, data).ok()
}
