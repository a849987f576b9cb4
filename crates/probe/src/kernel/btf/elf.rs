//! BTF inside an ELF file: a vmlinux, or a kernel image's unpacked payload.

use super::BtfError;
use super::wire::u32_at;

const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;

pub(super) fn is_elf(data: &[u8]) -> bool {
    data.starts_with(MAGIC)
}

/// The contents of the `.BTF` section of a 64-bit little-endian ELF file.
pub(super) fn extract(data: &[u8]) -> Result<Vec<u8>, BtfError> {
    if data.get(4..6) != Some(&[CLASS_64, LITTLE_ENDIAN]) {
        return Err(BtfError::NoElfSection);
    }
    find(data, b".BTF")
        .map(<[u8]>::to_vec)
        .ok_or(BtfError::NoElfSection)
}

fn find<'a>(data: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let table = u64_at(data, 0x28)?;
    let entry_len = u64::from(u16_at(data, 0x3a)?);
    let count = u64::from(u16_at(data, 0x3c)?);
    let names_index = u64::from(u16_at(data, 0x3e)?);
    let header = |index: u64| {
        let start = usize::try_from(table.checked_add(index.checked_mul(entry_len)?)?).ok()?;
        data.get(start..)?.get(..64)
    };
    let names = contents(data, header(names_index)?)?;
    (0..count).filter_map(header).find_map(|section| {
        let name = names.get(u32_at(section, 0)? as usize..)?;
        let matches = name.strip_prefix(wanted)?.first() == Some(&0);
        if matches { contents(data, section) } else { None }
    })
}

fn contents<'a>(data: &'a [u8], section: &[u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(u64_at(section, 0x18)?).ok()?;
    let len = usize::try_from(u64_at(section, 0x20)?).ok()?;
    data.get(start..)?.get(..len)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
