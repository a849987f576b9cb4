//! Decompression of a page.

use flate2::{Decompress, FlushDecompress, Status};

use super::lzo;
use crate::recover::memory::SkipReason;

/// Flags of a page descriptor for the compression; without any of them the page is uncompressed.
const ZLIB: u32 = 1 << 0;
const LZO: u32 = 1 << 1;
const SNAPPY: u32 = 1 << 2;
const ZSTD: u32 = 1 << 5;
const ALL: u32 = ZLIB | LZO | SNAPPY | ZSTD;
/// Flags without a meaning for the compression: the dump is incomplete, or parts of the memory map were
/// excluded.
const OTHER: u32 = 1 << 3 | 1 << 4;

/// Decompressors that are reused from page to page.
pub(super) struct Codec {
    zlib: Decompress,
    zstd: ruzstd::decoding::FrameDecoder,
}

impl Codec {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true), zstd: ruzstd::decoding::FrameDecoder::new() }
    }

    /// Decompresses `input` into `page`, which it must fill exactly.
    pub(super) fn decode(&mut self, flags: u32, input: &[u8], page: &mut [u8]) -> Result<(), SkipReason> {
        let length = match flags & !OTHER {
            0 if input.len() == page.len() => {
                page.copy_from_slice(input);
                Some(page.len())
            }
            0 => return Err(SkipReason::Malformed),
            ZLIB => self.zlib(input, page),
            LZO => lzo::decompress(input, page),
            SNAPPY => snappy(input, page),
            ZSTD => self.zstd.decode_all(input, page).ok(),
            flags if flags & !ALL != 0 => return Err(SkipReason::UnknownCompression),
            _ => return Err(SkipReason::Malformed),
        };
        if length == Some(page.len()) { Ok(()) } else { Err(SkipReason::Undecodable) }
    }

    fn zlib(&mut self, input: &[u8], page: &mut [u8]) -> Option<usize> {
        self.zlib.reset(true);
        let status = self.zlib.decompress(input, page, FlushDecompress::Finish).ok()?;
        (status == Status::StreamEnd).then(|| self.zlib.total_out() as usize)
    }
}

fn snappy(input: &[u8], page: &mut [u8]) -> Option<usize> {
    // Checked first: with debug assertions it would panic on a page that is larger than the buffer.
    let length = snap::raw::decompress_len(input).ok()?;
    (length == page.len()).then(|| snap::raw::Decoder::new().decompress(input, page).ok()).flatten()
}
