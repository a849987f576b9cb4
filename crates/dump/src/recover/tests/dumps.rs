//! Writes dumps like makedumpfile and QEMU.

use std::{io::Write as _, ops::Range};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// The kernel's description of itself.
pub(super) const VMCOREINFO: &[u8] = b"OSRELEASE=7.3.4\nPAGESIZE=4096\nKERNELOFFSET=1e000000\n";

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

impl Compression {
    pub(super) const ALL: [Self; 5] = [Self::None, Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    fn pack(self, page: &[u8]) -> (u32, Vec<u8>) {
        let (flag, packed) = match self {
            Self::None => (0, page.to_vec()),
            Self::Zlib => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                writer.write_all(page).unwrap();
                (1, writer.finish().unwrap())
            }
            Self::Lzo => (2, lzokay_native::compress(page).unwrap()),
            Self::Snappy => (4, snap::raw::Encoder::new().compress_vec(page).unwrap()),
            Self::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                (0x20, ruzstd::encoding::compress_to_vec(page, level))
            }
        };
        // As makedumpfile does.
        if packed.len() < page.len() { (flag, packed) } else { (0, page.to_vec()) }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
    if bytes.len() < offset + part.len() {
        bytes.resize(offset + part.len(), 0);
    }
    bytes[offset..offset + part.len()].copy_from_slice(part);
}

/// Pages by their frame numbers, as one image with zeros in between.
pub(super) fn raw(pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut image = Vec::new();
    for (frame, page) in pages {
        put(&mut image, *frame as usize * PAGE, page);
    }
    image
}

/// An ELF dump with a segment for each page, unordered.
pub(super) fn elf(pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &[4, 0, 62, 0]);
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &56u16.to_le_bytes());
    put(&mut file, 56, &(pages.len() as u16 + 1).to_le_bytes());
    let mut note = Vec::new();
    for number in [11, VMCOREINFO.len() as u32, 0] {
        note.extend(number.to_le_bytes());
    }
    note.extend(b"VMCOREINFO\0\0");
    note.extend(VMCOREINFO);
    note.resize(note.len().next_multiple_of(4), 0);
    let notes = 64 + 56 * (pages.len() + 1);
    let mut header = |index: usize, kind: u32, offset: usize, physical: u64, size: usize| {
        let at = 64 + 56 * index;
        put(&mut file, at, &kind.to_le_bytes());
        put(&mut file, at + 8, &(offset as u64).to_le_bytes());
        put(&mut file, at + 24, &physical.to_le_bytes());
        put(&mut file, at + 32, &(size as u64).to_le_bytes());
        put(&mut file, at + 40, &(size as u64).to_le_bytes());
    };
    header(0, 4, notes, 0, note.len());
    // The file offset of memory has no alignment.
    let start = notes + note.len();
    for (index, (frame, _)) in pages.iter().enumerate() {
        header(index + 1, 1, start + (pages.len() - 1 - index) * PAGE, frame * PAGE as u64, PAGE);
    }
    put(&mut file, notes, &note);
    for (_, page) in pages.iter().rev() {
        file.extend(page);
    }
    file
}

/// A kdump-compressed dump, version 6.
pub(super) fn kdump(pages: &[(u64, Vec<u8>)], compression: Compression) -> Vec<u8> {
    part(pages, compression, None)
}

/// As above in parts, like `makedumpfile --split`: each has all headers, and only the pages of its frames.
pub(super) fn split(
    pages: &[(u64, Vec<u8>)],
    compression: Compression,
    parts: &[Range<u64>],
) -> Vec<Vec<u8>> {
    parts.iter().map(|frames| part(pages, compression, Some(frames.clone()))).collect()
}

/// A `LiME` image with a range for each page, unordered.
pub(super) fn lime(pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for (frame, page) in pages {
        let first = frame * PAGE as u64;
        file.extend(b"EMiL\x01\0\0\0");
        file.extend(first.to_le_bytes());
        file.extend((first + PAGE as u64 - 1).to_le_bytes());
        file.extend([0; 8]);
        file.extend(page);
    }
    file
}

fn part(pages: &[(u64, Vec<u8>)], compression: Compression, own: Option<Range<u64>>) -> Vec<u8> {
    let frames = pages.iter().map(|(frame, _)| frame + 1).max().unwrap_or(0);
    let mut file = Vec::new();
    put(&mut file, 0, b"KDUMP   ");
    put(&mut file, 8, &6u32.to_le_bytes());
    for (offset, value) in [(428, PAGE as u32), (432, 1), (436, 2), (440, frames as u32)] {
        put(&mut file, offset, &value.to_le_bytes());
    }
    let info = PAGE + 512;
    for (offset, value) in [(32, info as u64), (40, VMCOREINFO.len() as u64), (96, frames)] {
        put(&mut file, PAGE + offset, &value.to_le_bytes());
    }
    put(&mut file, info, VMCOREINFO);
    if let Some(own) = &own {
        put(&mut file, PAGE + 12, &1u32.to_le_bytes());
        put(&mut file, PAGE + 80, &own.start.to_le_bytes());
        put(&mut file, PAGE + 88, &own.end.to_le_bytes());
    }
    let mut bitmap = vec![0u8; PAGE];
    for (frame, _) in pages {
        bitmap[*frame as usize / 8] |= 1 << (frame % 8);
    }
    put(&mut file, 2 * PAGE, &vec![0xff; PAGE]);
    put(&mut file, 3 * PAGE, &bitmap);
    let table = 4 * PAGE;
    let is_own = |frame: u64| own.as_ref().is_none_or(|own| own.contains(&frame));
    let mut sorted: Vec<_> = pages.iter().filter(|(frame, _)| is_own(*frame)).collect();
    let mut data = table + 24 * sorted.len();
    sorted.sort_by_key(|(frame, _)| *frame);
    let mut zero = None;
    for (index, (_, page)) in sorted.into_iter().enumerate() {
        let (flags, packed) = compression.pack(page);
        // All pages of zeros share one in the file.
        let is_zero = page.iter().all(|&byte| byte == 0);
        let offset = if is_zero { *zero.get_or_insert(data) } else { data };
        put(&mut file, table + 24 * index, &(offset as u64).to_le_bytes());
        put(&mut file, table + 24 * index + 8, &(packed.len() as u32).to_le_bytes());
        put(&mut file, table + 24 * index + 12, &flags.to_le_bytes());
        put(&mut file, offset, &packed);
        data = file.len();
    }
    file
}

/// The same file flattened: in pieces of odd sizes, the first one last.
pub(super) fn flattened(file: &[u8]) -> Vec<u8> {
    let mut flat = b"makedumpfile\0\0\0\0".to_vec();
    for number in [1i64, 1] {
        flat.extend(number.to_be_bytes());
    }
    flat.resize(4096, 0);
    let pieces: Vec<_> = file.chunks(777).enumerate().collect();
    for (index, piece) in pieces.into_iter().rev() {
        flat.extend((index as i64 * 777).to_be_bytes());
        flat.extend((piece.len() as i64).to_be_bytes());
        flat.extend(piece);
    }
    flat.extend([0xff; 16]);
    flat
}
