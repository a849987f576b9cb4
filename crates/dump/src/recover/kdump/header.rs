//! The two headers: `struct disk_dump_header` and `struct kdump_sub_header` as laid out on x86-64.

use super::malformed;
use crate::recover::{
    bytes::{u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    vmcoreinfo::{self, VmcoreInfo},
};

/// First bytes of such a file.
pub(in crate::recover) const MAGIC: &[u8] = b"KDUMP   ";

/// Accepted page sizes.
const BLOCKS: std::ops::RangeInclusive<u32> = 512..=1 << 20;
/// No machine has more pages than fit into 52 bits of address.
const MAX_PAGES: u64 = 1 << 40;
/// Bytes up to and including the last member in use.
const HEADER: usize = 464;
const SUB_HEADER: usize = 104;

/// The layout of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Size of a block in bytes, which is that of a page.
    pub(super) block: u32,
    /// Number of page frames that the bitmap covers.
    pub(super) frames: u64,
    /// The page frames that this file has descriptors for, if the dump is split into several files.
    pub(super) part: std::ops::Range<u64>,
    /// True if the dump is split.
    pub(super) is_split: bool,
    /// Offset of the bitmap of the pages in the dump.
    pub(super) bitmap: u64,
    /// Size of that bitmap in bytes.
    pub(super) bitmap_bytes: u64,
    /// Offset of the first descriptor.
    pub(super) descriptors: u64,
    /// The kernel's description of itself.
    pub(super) vmcoreinfo: VmcoreInfo,
}

/// Place of the machine name in the kernel's `struct utsname`, whose names have 65 bytes each.
const MACHINE: std::ops::Range<usize> = 12 + 4 * 65..12 + 5 * 65;

/// Checks the machine: other machines have other header layouts or byte orders.
fn machine(bytes: &[u8]) -> Result<(), CoreError> {
    let name = bytes.get(MACHINE).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default();
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-');
    match std::str::from_utf8(name) {
        Ok(name) if is_name && !name.is_empty() && name != "x86_64" => Err(CoreError::Foreign(
            format!("this dump is for machine type {name}, but p2p-trace supports x86-64 (x86_64) only")
                .into(),
        )),
        _ => Ok(()),
    }
}

/// Reads both headers.
pub(super) fn read(input: &dyn ReadAt) -> Result<Header, CoreError> {
    let bytes = input.bytes(0, HEADER).map_err(CoreError::reading("the header"))?;
    let field = |offset| u32_at(&bytes, offset).ok_or_else(|| malformed("truncated in its header"));
    machine(&bytes)?;
    let version = field(8)?;
    let (block, sub_blocks, bitmap_blocks) = (field(428)?, field(432)?, field(436)?);
    if !block.is_power_of_two() || !BLOCKS.contains(&block) {
        return Err(malformed(format!("invalid block size of {block} bytes")));
    }
    let size = u64::from(block);
    let sub = input.bytes(size, SUB_HEADER).map_err(CoreError::reading("the second header"))?;
    // Members were added with versions of the header; in older versions other data may be in their place.
    let long = |offset, since| u64_at(&sub, offset).filter(|_| version >= since);
    let frames = long(96, 6).unwrap_or_else(|| u64::from(u32_at(&bytes, 440).unwrap_or_default()));
    if frames == 0 || frames > MAX_PAGES {
        return Err(malformed(format!("implausible number of pages: {frames}")));
    }
    let is_split = version >= 2 && u32_at(&sub, 12).is_some_and(|split| split != 0);
    let part = if is_split {
        let start = long(80, 6).or_else(|| long(16, 2));
        let end = long(88, 6).or_else(|| long(24, 2));
        start.unwrap_or(0)..end.unwrap_or(frames).min(frames)
    } else {
        0..frames
    };
    let vmcoreinfo = long(32, 3)
        .zip(long(40, 3))
        .filter(|(offset, length)| *offset > 0 && *length > 0)
        .and_then(|(offset, length)| {
            let length = length.min(vmcoreinfo::LIMIT as u64) as usize;
            Some(VmcoreInfo::parse(&input.bytes(offset, length).ok()?))
        })
        .unwrap_or_default();
    let start = size * (1 + u64::from(sub_blocks));
    let one = frames.div_ceil(8).div_ceil(size);
    // With room for only one bitmap, all pages of the machine are in the dump.
    let skip = if u64::from(bitmap_blocks) >= 2 * one { u64::from(bitmap_blocks) / 2 } else { 0 };
    if u64::from(bitmap_blocks) < one {
        return Err(malformed(format!("a bitmap of {bitmap_blocks} blocks is too small for {frames} pages")));
    }
    Ok(Header {
        block,
        frames,
        part,
        is_split,
        bitmap: start + skip * size,
        bitmap_bytes: frames.div_ceil(8),
        descriptors: start + u64::from(bitmap_blocks) * size,
        vmcoreinfo,
    })
}
