//! `LiME` images: ranges of memory one behind the other, each behind a header with its first and last address
//! (`LiME`: `src/lime.h`). Taken as they lie, each slot would be found away from its place.

use super::{
    bytes::{u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    memory::Format,
    segments::Segment,
};

/// What each header begins with: `LIME_MAGIC`, little-endian.
pub(super) const MAGIC: &[u8] = b"EMiL";
/// Bytes of a header: magic, version, first and last address, and 8 that are reserved.
const HEADER: u64 = 32;
const VERSION: u32 = 1;
/// More ranges than any machine has.
const MAX_SEGMENTS: usize = 1 << 20;

fn malformed(what: &str) -> CoreError {
    CoreError::Malformed { format: Format::Lime, what: what.into() }
}

/// The ranges that it holds, as far as its headers go on.
///
/// # Errors
///
/// When it cannot be read, or its first header makes no sense.
pub(super) fn segments(input: &dyn ReadAt) -> Result<Vec<Segment>, CoreError> {
    let (mut segments, mut at) = (Vec::new(), 0u64);
    while at < input.size() && segments.len() < MAX_SEGMENTS {
        let header =
            input.bytes(at, HEADER as usize).map_err(CoreError::reading("the headers of the image"))?;
        let Some(segment) = segment(&header, at) else {
            if segments.is_empty() {
                return Err(malformed("its first header makes no sense"));
            }
            tracing::warn!(
                "the image goes on at {at:#x} with something that is no range of memory: it is not searched"
            );
            break;
        };
        let Some(next) = segment.offset.checked_add(segment.size) else { break };
        segments.push(segment);
        at = next;
    }
    Ok(segments)
}

fn segment(header: &[u8], at: u64) -> Option<Segment> {
    if !header.starts_with(MAGIC) || u32_at(header, 4)? != VERSION {
        return None;
    }
    let (first, last) = (u64_at(header, 8)?, u64_at(header, 16)?);
    let size = last.checked_sub(first)?.checked_add(1)?;
    (header.len() as u64 == HEADER).then_some(())?;
    Some(Segment { physical: first, offset: at.checked_add(HEADER)?, size })
}
