//! Entry points for fuzzing: processing of bytes from unknown sources.

use std::convert::Infallible;

use p2p_trace_model::pipeline::Pipeline;

use super::{
    End, Opened, Reader, RunItem, RunReader,
    block::{HEADER_SIZE, MAGIC},
};

/// Reads as much of a dump as possible, and evaluates the rules.
pub fn read(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(_)) = reader.next_entry() {}
    let Ok(opened) = Opened::open(bytes) else { return };
    let header = opened.header().clone();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    let Some(mut reader) = RunReader::new(vec![opened]) else {
        return;
    };
    let mut totals = None;
    while let Ok(Some(item)) = reader.next_item() {
        match item {
            RunItem::Restore(checkpoint) => checkpoint.restore(&mut pipeline),
            RunItem::Slice(slice) => {
                let Ok(()) = pipeline.advance(&slice, |_| Ok::<_, Infallible>(()));
            }
            RunItem::Status(change) => pipeline.update(&change.status),
            RunItem::Diagnostics(_) => {}
            RunItem::Uncertainty(why) => pipeline.mark_uncertain(why),
            RunItem::End(end) => {
                if let End::Complete(footer) = *end {
                    totals = footer.totals;
                }
            }
        }
    }
    pipeline.close(&totals.unwrap_or_default());
}

/// The same bytes with valid checksums, so that the code behind the checks is reached.
#[must_use]
pub fn with_valid_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut from = 0;
    while let Some(place) = find(&bytes, from) {
        from = place + MAGIC.len();
        let Some(block) = bytes.get_mut(place..).filter(|block| block.len() >= HEADER_SIZE) else {
            break;
        };
        let (header, behind) = block.split_at_mut(HEADER_SIZE);
        let stored = header[12..16].iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
        if let Some(content) = behind.get(..stored) {
            header[20..24].copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        }
        let crc = crc32c::crc32c(&header[..28]).to_le_bytes();
        header[28..].copy_from_slice(&crc);
    }
    bytes
}

/// Offset of the next possible block.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let place = rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    Some(from + place)
}
