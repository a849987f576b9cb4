//! `LiME` images: consecutive ranges of memory, each behind a header with its first and last address (`LiME`:
//! `src/lime.h`). Read as a raw image, every slot would seem misplaced.

use super::{
    bytes::{u32_at, u64_at},
    error::CoreError,
    input::ReadAt,
    memory::Format,
    segments::Segment,
};

/// First bytes of each header: `LIME_MAGIC`, little-endian.
pub(super) const MAGIC: &[u8] = b"EMiL";
/// Bytes of a header: magic, version, first and last address, and 8 reserved bytes.
const HEADER: u64 = 32;
const VERSION: u32 = 1;
/// More ranges than any machine has.
const MAX_SEGMENTS: usize = 1 << 20;

fn malformed(problem: &str) -> CoreError {
    CoreError::Malformed { format: Format::Lime, problem: problem.into() }
}

/// The ranges of the image, up to the first invalid header.
///
/// # Errors
///
/// If the image cannot be read, or its first header is invalid.
pub(super) fn segments(input: &dyn ReadAt) -> Result<Vec<Segment>, CoreError> {
    let (mut segments, mut at) = (Vec::new(), 0u64);
    while at < input.size() && segments.len() < MAX_SEGMENTS {
        let header =
            input.bytes(at, HEADER as usize).map_err(CoreError::reading("the headers of the image"))?;
        let Some(segment) = segment(&header, at) else {
            if segments.is_empty() {
                return Err(malformed("invalid first header"));
            }
            tracing::warn!("no range of memory at {at:#x} of the image: the rest of it is not searched");
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
