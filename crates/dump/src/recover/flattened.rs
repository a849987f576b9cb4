//! makedumpfile's flattened form, in which a dump can be piped, and which QEMU before 8.2 uses for all
//! kdump-compressed dumps. It consists of pieces of a file, each behind its offset and size, big-endian, in
//! the order in which they were written. The file is reassembled while it is read, without a second file.

use std::io;

use rangemap::RangeMap;

use super::{
    bytes::array,
    error::CoreError,
    input::ReadAt,
    memory::{SkipReason, Skipped, Window},
};

/// First bytes of such a file.
pub(super) const MAGIC: &[u8] = b"makedumpfile\0\0\0\0";
/// Offset of its first piece.
const START: u64 = 4096;
/// Size of the header of each piece.
const HEADER: usize = 16;
/// Offset and size of the end marker.
const END: i64 = -1;
/// Maximum number of pieces: makedumpfile and QEMU write pieces of hundreds of kilobytes.
const MAX_PIECES: usize = 1 << 22;

/// A dump has few holes. Pieces at offsets beyond this many times the size of the flattened form, plus some
/// slack, are ignored: reading all those zeros would take forever.
const HOLES: u64 = 16;
const LEAST_LIMIT: u64 = 1 << 28;

/// A flattened file, presented as the original file.
pub(super) struct Flattened<R> {
    input: R,
    /// Maps a range of the file to the number to add (wrapping) for its place in `input`.
    pieces: RangeMap<u64, u64>,
    size: u64,
    skipped: Skipped,
}

impl<R: ReadAt> Flattened<R> {
    /// Indexes the pieces. A truncated piece is available up to the end of the input.
    ///
    /// # Errors
    ///
    /// If the input cannot be read.
    pub(super) fn new(input: R) -> Result<Self, CoreError> {
        let mut flattened = Self { input, pieces: RangeMap::new(), size: 0, skipped: Skipped::default() };
        flattened.index().map_err(CoreError::reading("the pieces of the flattened dump"))?;
        Ok(flattened)
    }

    /// The missing parts.
    pub(super) const fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    fn index(&mut self) -> io::Result<()> {
        let (mut window, mut at, mut count) = (Window::default(), START, 0);
        loop {
            let header = window.get(&self.input, at, HEADER)?;
            let numbers = array(header, 0).zip(array(header, 8));
            let Some((offset, size)) =
                numbers.map(|(offset, size)| (i64::from_be_bytes(offset), i64::from_be_bytes(size)))
            else {
                self.skipped.add(SkipReason::Truncated, self.size, 0);
                return Ok(());
            };
            if (offset, size) == (END, END) {
                return Ok(());
            }
            let numbers = u64::try_from(offset).ok().zip(u64::try_from(size).ok());
            let piece = numbers.and_then(|(offset, size)| Some((offset, size, offset.checked_add(size)?)));
            let limit = self.input.size().saturating_mul(HOLES).saturating_add(LEAST_LIMIT);
            let Some((offset, size, _)) = piece.filter(|(.., end)| *end <= limit && count < MAX_PIECES)
            else {
                self.skipped.add(SkipReason::Malformed, self.size, 0);
                return Ok(());
            };
            let data = at + HEADER as u64;
            let there = self.input.size().saturating_sub(data).min(size);
            if there > 0 {
                // A later piece overrides an earlier one.
                self.pieces.insert(offset..offset + there, data.wrapping_sub(offset));
                self.size = self.size.max(offset + there);
            }
            if there < size {
                self.skipped.add(SkipReason::Truncated, offset + there, size - there);
                return Ok(());
            }
            count += 1;
            at = data + size;
        }
    }
}

impl<R: ReadAt> ReadAt for Flattened<R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.size.saturating_sub(offset).min(buffer.len() as u64);
        let buffer = &mut buffer[..length as usize];
        // A hole between pieces reads as zeros.
        buffer.fill(0);
        let wanted = offset..offset + length;
        for (range, delta) in self.pieces.overlapping(&wanted) {
            let (start, end) = (range.start.max(wanted.start), range.end.min(wanted.end));
            let target = &mut buffer[(start - offset) as usize..(end - offset) as usize];
            self.input.read_at(start.wrapping_add(*delta), target)?;
        }
        Ok(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(pieces: &[(i64, &[u8])], end: bool) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.resize(START as usize, 0);
        for (offset, bytes) in pieces {
            file.extend(offset.to_be_bytes());
            file.extend((bytes.len() as i64).to_be_bytes());
            file.extend(*bytes);
        }
        if end {
            file.extend([0xff; 16]);
        }
        file
    }

    fn read(file: Vec<u8>) -> (Vec<u8>, Skipped) {
        let flattened = Flattened::new(file).unwrap();
        let bytes = flattened.bytes(0, 64).unwrap();
        (bytes, flattened.skipped)
    }

    #[test]
    fn reassembles_pieces_and_later_ones_win() {
        let file = flat(&[(6, b"world"), (0, b"HELLO"), (1, b"ell")], true);
        let (bytes, skipped) = read(file);
        assert_eq!(bytes, b"HellO\0world");
        assert!(skipped.is_empty());
    }

    #[test]
    fn reads_truncated_file_and_reports_it() {
        let complete = flat(&[(6, b"world"), (0, b"HELLO")], true);
        for end in START as usize..complete.len() - 15 {
            let (bytes, skipped) = read(complete[..end].to_vec());
            assert!(!skipped.is_empty(), "cut at {end}");
            assert!(bytes.len() <= 11);
        }
        let (_, skipped) = read(flat(&[(-7, b"x"), (0, b"y")], true));
        assert_eq!(skipped.iter().next().map(|(why, _)| why), Some(SkipReason::Malformed));
        let (_, skipped) = read(flat(&[(i64::MAX - 1, b"x")], true));
        assert_eq!(skipped.iter().next().map(|(why, _)| why), Some(SkipReason::Malformed));
    }
}
