//! Reads a dump from a file or a pipe: complete, damaged, or malicious.

use std::{
    fmt,
    io::{self, Read},
};

use p2p_trace_model::text::Text;
use serde::de::DeserializeOwned;

use super::{
    block::{BlockHeader, FORMAT, Kind, MAX_CONTENT, OLDEST_FORMAT},
    checkpoint::Checkpoint,
    codec,
    describe::{Diagnostics, Footer, Header, Reason, StatusChange, Symbols},
    records::Records,
    scan::{Piece, Scanner},
};

/// An entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The run. It occurs more than once.
    Header(Box<Header>),
    /// Slices of the stream.
    Records(Records),
    /// A change of the tracing status.
    Status(Box<StatusChange>),
    /// Names of addresses.
    Symbols(Symbols),
    /// The state at this point.
    Checkpoint(Box<Checkpoint>),
    /// The end of the file.
    Footer(Box<Footer>),
    /// Log statements of the kernel side.
    Diagnostics(Diagnostics),
    /// A block of a kind that this version does not know.
    Unknown(u8),
    /// A part is missing or unreadable.
    Damage(Damage),
}

/// Maximum number of damages kept per run. Further ones are counted.
pub(super) const MAX_DAMAGE: usize = 1000;

/// A part of a dump that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Bytes without an intact block.
    Garbage {
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes.
        bytes: u64,
    },
    /// Missing blocks.
    Missing {
        /// Offset of the next block that exists.
        offset: u64,
        /// Number of missing blocks.
        blocks: u32,
    },
    /// The block at this offset has a lower number than an earlier one.
    Again {
        /// Its offset.
        offset: u64,
        /// Its number.
        number: u32,
    },
    /// The block at this offset begins another run; nothing is read from there on.
    OtherRun {
        /// Its offset.
        offset: u64,
    },
    /// Blocks in front of the run's header that were dropped because they exceed the limit.
    Early {
        /// Number of blocks.
        blocks: u64,
    },
    /// A block is intact, but its content is invalid.
    Malformed {
        /// Its offset.
        offset: u64,
        /// Its kind.
        kind: Kind,
        /// The error.
        why: Text,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage { offset, bytes } => {
                write!(f, "{bytes} bytes at offset {offset} contain no intact block")
            }
            Self::Missing { offset, blocks } => {
                write!(f, "{blocks} blocks are missing before offset {offset}")
            }
            Self::Again { offset, number } => write!(
                f,
                "block numbers restart at {number} at offset {offset}: the file was overwritten, or a part of it is repeated"
            ),
            Self::OtherRun { offset } => write!(
                f,
                "another run begins at offset {offset} and is ignored: the file was overwritten or joined with another one"
            ),
            Self::Early { blocks } => {
                write!(f, "{blocks} blocks before the header of the run exceed the limit and were dropped")
            }
            Self::Malformed { offset, kind, why } => {
                write!(f, "the {} block at offset {offset} is malformed: {why}", kind.name())
            }
        }
    }
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file or pipe cannot be read.
    #[error("read failed: {0}")]
    Io(#[from] io::Error),
    /// A later version wrote it.
    #[error(
        "format version {0} is newer than this p2p-trace, which reads versions up to {FORMAT}: use a newer p2p-trace"
    )]
    Newer(u8),
    /// A version before the first release wrote it.
    #[error(
        "format version {0} predates the first release: this p2p-trace reads versions {OLDEST_FORMAT} to {FORMAT}; use the \
         p2p-trace that wrote the dump"
    )]
    Older(u8),
}

/// Reads the blocks of one file.
pub struct Reader<R> {
    scanner: Scanner<R>,
    /// The number that the next block must have.
    number: Option<u32>,
    /// The block whose predecessors are missing.
    waiting: Option<(u64, BlockHeader, Vec<u8>)>,
    blocks: u64,
    /// The run, once its header was read.
    run: Option<u64>,
    /// Bytes of the latest entry, decompressed.
    size: usize,
    /// Stop at the end of the run: the input would wait for more.
    ends_with_run: bool,
    /// Nothing more is delivered.
    is_over: bool,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, blocks) = (self.number, self.blocks);
        f.debug_struct("Reader").field("number", &number).field("blocks", &blocks).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of a file, or from the middle.
    #[must_use]
    pub const fn new(input: R) -> Self {
        Self {
            scanner: Scanner::new(input),
            number: None,
            waiting: None,
            blocks: 0,
            run: None,
            size: 0,
            ends_with_run: false,
            is_over: false,
        }
    }

    /// As [`Reader::new`] for an input that never ends: nothing is read behind the footer that ends the run.
    pub(super) const fn until_end_of_run(input: R) -> Self {
        let mut reader = Self::new(input);
        reader.ends_with_run = true;
        reader
    }

    /// Looks for the first header up to this offset only.
    pub(crate) const fn expect_header_within(&mut self, limit: u64) {
        self.scanner.set_limit(Some(limit));
    }

    /// True if there was no header up to the limit.
    pub(crate) fn has_no_header_within(&self) -> bool {
        self.scanner.is_at_limit()
    }

    /// Number of intact blocks so far: without any, the input is not a dump.
    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Size of the latest entry in bytes, for limits on the memory that keeps it.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or another version wrote it. Damage is an entry, not an error.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        self.size = 0;
        let (offset, header, content) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.scanner.next()? {
                None => return Ok(None),
                Some(Piece::Garbage { offset, bytes }) => {
                    return Ok(Some(Entry::Damage(Damage::Garbage { offset, bytes })));
                }
                Some(Piece::Block(header, content)) => (self.scanner.block_offset(), header, content),
            },
        };
        if header.format > FORMAT {
            return Err(ReadError::Newer(header.format));
        }
        if header.format < OLDEST_FORMAT {
            return Err(ReadError::Older(header.format));
        }
        let blocks = self.number.map_or(0, |number| header.number.wrapping_sub(number));
        self.number = Some(header.number.wrapping_add(1));
        if blocks > 0 {
            self.waiting = Some((offset, header, content));
            self.number = Some(header.number);
            // A gap never reaches half of all numbers: a larger difference is a step back.
            let damage = if blocks <= u32::MAX / 2 {
                Damage::Missing { offset, blocks }
            } else {
                Damage::Again { offset, number: header.number }
            };
            return Ok(Some(Entry::Damage(damage)));
        }
        self.blocks += 1;
        self.size = header.decoded as usize;
        let entry = entry(offset, &header, &content);
        if let Entry::Header(header) = &entry {
            self.scanner.set_limit(None);
            let run = header.status.run;
            if *self.run.get_or_insert(run) != run {
                self.is_over = true;
                return Ok(Some(Entry::Damage(Damage::OtherRun { offset })));
            }
        }
        let is_last = matches!(&entry, Entry::Footer(footer) if footer.reason != Reason::Rotated);
        if self.ends_with_run && is_last {
            self.scanner.end();
        }
        Ok(Some(entry))
    }
}

fn entry(offset: u64, header: &BlockHeader, content: &[u8]) -> Entry {
    let Some(kind) = Kind::from_u8(header.kind) else {
        return Entry::Unknown(header.kind);
    };
    if header.decoded as usize > max_size(kind) {
        let why = format!("{} bytes exceed its maximum size", header.decoded).into();
        return Entry::Damage(Damage::Malformed { offset, kind, why });
    }
    let decoded = codec::decode(header.codec, content, header.decoded as usize);
    let parsed = decoded.map_err(|error| error.to_string().into()).and_then(|content| parse(kind, &content));
    parsed.unwrap_or_else(|why| Entry::Damage(Damage::Malformed { offset, kind, why }))
}

/// Maximum content of a block of this kind. Content that is kept for the complete run, and copied, is a few
/// kilobytes.
const fn max_size(kind: Kind) -> usize {
    match kind {
        Kind::Header | Kind::Status | Kind::Footer => 1 << 20,
        Kind::Records | Kind::Symbols | Kind::Checkpoint | Kind::Diagnostics => MAX_CONTENT,
    }
}

pub(super) fn parse(kind: Kind, content: &[u8]) -> Result<Entry, Text> {
    Ok(match kind {
        Kind::Header => Entry::Header(Box::new(json(content)?)),
        Kind::Status => Entry::Status(Box::new(json(content)?)),
        Kind::Symbols => Entry::Symbols(json(content)?),
        Kind::Footer => Entry::Footer(Box::new(json(content)?)),
        Kind::Diagnostics => Entry::Diagnostics(json(content)?),
        Kind::Checkpoint => {
            let checkpoint = Checkpoint::from_bytes(content).ok_or_else(inconsistent)?;
            Entry::Checkpoint(Box::new(checkpoint))
        }
        Kind::Records => Entry::Records(Records::from_bytes(content).ok_or_else(inconsistent)?),
    })
}

fn inconsistent() -> Text {
    "inconsistent content".into()
}

fn json<T: DeserializeOwned>(content: &[u8]) -> Result<T, Text> {
    serde_json::from_slice(content).map_err(|error| error.to_string().into())
}
