//! The two headers, as `struct disk_dump_header` and `struct kdump_sub_header` lie on x86-64.

use super::malformed;
use crate::recover::{
    bytes::{u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    vmcoreinfo::{self, VmcoreInfo},
};

/// What such a file begins with.
pub(in crate::recover) const MAGIC: &[u8] = b"KDUMP   ";

/// Sizes of pages that are believed.
const BLOCKS: std::ops::RangeInclusive<u32> = 512..=1 << 20;
/// No machine has more pages than fit into 52 bits of address.
const MAX_PAGES: u64 = 1 << 40;
/// Up to and with its last member that is of use.
const HEADER: usize = 464;
const SUB_HEADER: usize = 104;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a block, which is a page.
    pub(super) block: u32,
    /// Page frames that the bitmap has bits for.
    pub(super) frames: u64,
    /// The page frames that this file has descriptors for, if the dump is split over several.
    pub(super) part: std::ops::Range<u64>,
    /// It is.
    pub(super) is_split: bool,
    /// Where the bitmap of the pages in the dump lies.
    pub(super) bitmap: u64,
    /// Bytes of it.
    pub(super) bitmap_bytes: u64,
    /// Where the descriptors begin.
    pub(super) descriptors: u64,
    /// What the kernel said of itself.
    pub(super) vmcoreinfo: VmcoreInfo,
}

/// Where the kernel's `struct utsname` has the name of the machine, each name in 65 bytes.
const MACHINE: std::ops::Range<usize> = 12 + 4 * 65..12 + 5 * 65;

/// Whose memory it is: the rest of the header lies elsewhere on other machines, or the other way round.
fn machine(bytes: &[u8]) -> Result<(), CoreError> {
    let name = bytes.get(MACHINE).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default();
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-');
    match std::str::from_utf8(name) {
        Ok(name) if is_name && !name.is_empty() && name != "x86_64" => Err(CoreError::Foreign(format!(
            "this dump is of a machine of kind {name}: p2p-trace traces x86-64 (x86_64), and reads memory of that only"
        ).into())),
        _ => Ok(()),
    }
}

/// Reads both headers.
pub(super) fn read(input: &dyn ReadAt) -> Result<Header, CoreError> {
    let bytes = input.bytes(0, HEADER).map_err(CoreError::reading("the header"))?;
    let field = |offset| u32_at(&bytes, offset).ok_or_else(|| malformed("it ends within its header"));
    machine(&bytes)?;
    let version = field(8)?;
    let (block, sub_blocks, bitmap_blocks) = (field(428)?, field(432)?, field(436)?);
    if !block.is_power_of_two() || !BLOCKS.contains(&block) {
        return Err(malformed(format!("its blocks have {block} bytes")));
    }
    let size = u64::from(block);
    let sub = input.bytes(size, SUB_HEADER).map_err(CoreError::reading("the second header"))?;
    // Each member came with a version of the header; before that, something else may lie there.
    let long = |offset, since| u64_at(&sub, offset).filter(|_| version >= since);
    let frames = long(96, 6).unwrap_or_else(|| u64::from(u32_at(&bytes, 440).unwrap_or_default()));
    if frames == 0 || frames > MAX_PAGES {
        return Err(malformed(format!("it says that the machine had {frames} pages")));
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
    // Where there is room for one bitmap only, all pages of the machine are in the dump.
    let skip = if u64::from(bitmap_blocks) >= 2 * one { u64::from(bitmap_blocks) / 2 } else { 0 };
    if u64::from(bitmap_blocks) < one {
        return Err(malformed(format!(
            "its bitmap of {bitmap_blocks} blocks is too small for {frames} pages"
        )));
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
