//! Finds blocks in a stream of bytes, and the damaged stretches between them.

use std::io::{self, Read};

use super::block::{BlockHeader, HEADER_SIZE, MAGIC};

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;
/// Bytes that may be rescanned per byte read, whatever a hostile file claims. A block whose content does not match its
/// checksum is searched for blocks inside, since a truncated block is followed by the next one too early.
const PATIENCE: usize = 4;

/// A stretch of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An intact block.
    Block(BlockHeader, Vec<u8>),
    /// Bytes without an intact block.
    Garbage {
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes.
        bytes: u64,
    },
}

/// Finds blocks.
pub(super) struct Scanner<R> {
    input: R,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
    /// Index of the unread part in `buffer`.
    start: usize,
    /// Offset of the unread part in the stream.
    offset: u64,
    block_offset: u64,
    /// The stream has ended.
    ended: bool,
    /// Bytes that may still be rescanned.
    patience: usize,
    /// The search ends at this offset.
    limit: Option<u64>,
    found: Option<(BlockHeader, Vec<u8>)>,
}

impl<R: Read> Scanner<R> {
    pub(super) const fn new(input: R) -> Self {
        Self {
            input,
            chunk: Vec::new(),
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            block_offset: 0,
            ended: false,
            patience: 1 << 20,
            limit: None,
            found: None,
        }
    }

    /// Offset of the latest block.
    pub(super) const fn block_offset(&self) -> u64 {
        self.block_offset
    }

    /// Ends the search at an offset of an endless input, unless a block is found before.
    pub(super) const fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// True if the search ended at the limit instead of the end of the stream.
    pub(super) fn is_at_limit(&self) -> bool {
        self.limit.is_some_and(|limit| self.offset >= limit)
    }

    /// The next stretch; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        if let Some((header, content)) = self.found.take() {
            return Ok(Some(Piece::Block(header, content)));
        }
        let offset = self.offset;
        loop {
            self.fill(HEADER_SIZE)?;
            if self.unread().is_empty() || self.is_at_limit() {
                break;
            }
            if let Some((header, content)) = self.block()? {
                let bytes = self.offset - offset;
                self.block_offset = self.offset;
                self.skip(HEADER_SIZE + content.len());
                if bytes == 0 {
                    return Ok(Some(Piece::Block(header, content)));
                }
                self.found = Some((header, content));
                return Ok(Some(Piece::Garbage { offset, bytes }));
            }
            self.skip_to_magic();
        }
        let bytes = self.offset - offset;
        Ok((bytes > 0).then_some(Piece::Garbage { offset, bytes }))
    }

    /// The block at the start of the unread part, if it is intact.
    fn block(&mut self) -> io::Result<Option<(BlockHeader, Vec<u8>)>> {
        let Some(header) = self.unread().first_chunk().and_then(BlockHeader::from_bytes) else {
            return Ok(None);
        };
        let size = HEADER_SIZE + header.stored as usize;
        self.fill(size)?;
        let content = self.unread().get(HEADER_SIZE..size);
        if let Some(content) = content.filter(|content| header.fits(content)) {
            return Ok(Some((header, content.to_vec())));
        }
        let size = size.min(self.unread().len());
        if self.patience < size {
            // No writer produces such a file: skip the block as its header claims.
            self.skip(size - 1);
        } else {
            self.patience -= size;
        }
        Ok(None)
    }

    /// Skips to the next place at which a block can begin.
    fn skip_to_magic(&mut self) {
        let unread = self.unread();
        let rest = unread.get(1..).unwrap_or_default();
        let found = rest.windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
        // The beginning of a magic can be at the very end of the buffer.
        let kept = if self.ended { 0 } else { MAGIC.len() - 1 };
        let next = 1 + found.unwrap_or_else(|| rest.len().saturating_sub(kept));
        self.skip(next.min(unread.len()));
    }

    /// Stops reading from the stream; only buffered bytes remain.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    const fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads until `bytes` bytes are unread, or the stream ends.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.unread().len() >= bytes || self.ended {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.chunk.resize(CHUNK, 0);
        // A claimed length alone allocates nothing: only bytes that exist do.
        while self.buffer.len() < bytes && !self.ended {
            let count = match self.input.read(&mut self.chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?.min(CHUNK),
            };
            self.buffer.extend_from_slice(&self.chunk[..count]);
            self.ended = count == 0;
            self.patience = self.patience.saturating_add(count * PATIENCE);
        }
        Ok(())
    }
}
