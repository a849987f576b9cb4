//! Reads a dump: from a file or a pipe, whole, damaged, or made to harm.

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

/// What a dump consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The run. It comes more than once.
    Header(Box<Header>),
    /// Slices of the stream.
    Records(Records),
    /// What is attached has changed.
    Status(Box<StatusChange>),
    /// Names of addresses.
    Symbols(Symbols),
    /// What was true there.
    Checkpoint(Box<Checkpoint>),
    /// The end of the file.
    Footer(Box<Footer>),
    /// What the kernel side said of itself.
    Diagnostics(Diagnostics),
    /// A block of a kind that this version does not know.
    Unknown(u8),
    /// Something is missing or cannot be read.
    Damage(Damage),
}

/// Damages that are kept of a run. Those beyond are counted.
pub(super) const MAX_DAMAGE: usize = 1000;

/// A stretch of a dump that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// So many bytes hold no intact block.
    Garbage {
        /// Offset of the first.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// So many blocks are missing in front of the one at this offset.
    Missing {
        /// Offset of the next one that is there.
        offset: u64,
        /// How many.
        blocks: u32,
    },
    /// The block at this offset has a lower number than one in front of it.
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
    /// There was no room to keep these, until the header of the run was found.
    Early {
        /// How many.
        blocks: u64,
    },
    /// A block is intact and makes no sense.
    Malformed {
        /// Its offset.
        offset: u64,
        /// Its kind.
        kind: Kind,
        /// Why.
        why: Text,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage { offset, bytes } => {
                write!(f, "{bytes} bytes from offset {offset} on hold no intact block")
            }
            Self::Missing { offset, blocks } => {
                write!(f, "{blocks} blocks are missing in front of offset {offset}")
            }
            Self::Again { offset, number } => write!(
                f,
                "blocks are numbered from {number} on again at offset {offset}: the file was written anew, or a part of it is \
                 there twice"
            ),
            Self::OtherRun { offset } => write!(
                f,
                "another run begins at offset {offset}, and is left out: the file was written anew or joined with another one"
            ),
            Self::Early { blocks } => {
                write!(f, "{blocks} blocks in front of the header of the run are more than is kept")
            }
            Self::Malformed { offset, kind, why } => {
                write!(f, "the {} block at offset {offset} makes no sense: {why}", kind.name())
            }
        }
    }
}

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file or pipe.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A later version wrote it.
    #[error("it is of format version {0}; this p2p-trace reads versions up to {FORMAT}: use a newer one")]
    Newer(u8),
    /// It was written before there was a version that stays readable.
    #[error(
        "it is of format version {0}, which was in use before any release, and changed: this p2p-trace reads versions from \
         {OLDEST_FORMAT} up to {FORMAT}; use the p2p-trace that wrote it"
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
    /// The end of the run is the end of the input, which would be waited for.
    ends_with_run: bool,
    /// Nothing more is given out.
    is_over: bool,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, blocks) = (self.number, self.blocks);
        f.debug_struct("Reader").field("number", &number).field("blocks", &blocks).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// From the beginning of a file, or the middle.
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

    /// The same for an input that never ends by itself: nothing is read behind the footer that ends the run.
    pub(super) const fn until_end_of_run(input: R) -> Self {
        let mut reader = Self::new(input);
        reader.ends_with_run = true;
        reader
    }

    /// Looks for the first header up to this offset only.
    pub(crate) const fn expect_header_within(&mut self, limit: u64) {
        self.scanner.set_limit(Some(limit));
    }

    /// There was none.
    pub(crate) fn has_no_header_within(&self) -> bool {
        self.scanner.is_at_limit()
    }

    /// Intact blocks so far: none at all is no dump.
    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many bytes the latest entry has, as far as they matter to who keeps it.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a later version wrote it. Damage is no error, but an entry.
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
            // Numbers that count up do not come to the other half of all there are: it was one step back.
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
    if header.decoded as usize > most(kind) {
        let why = format!("{} bytes are more than it ever has", header.decoded).into();
        return Entry::Damage(Damage::Malformed { offset, kind, why });
    }
    let decoded = codec::decode(header.codec, content, header.decoded as usize);
    let parsed = decoded.map_err(|error| error.to_string().into()).and_then(|content| parse(kind, &content));
    parsed.unwrap_or_else(|why| Entry::Damage(Damage::Malformed { offset, kind, why }))
}

/// What a block of this kind can have in it. What is kept of the whole run, and copied, has a few kilobytes.
const fn most(kind: Kind) -> usize {
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
            let checkpoint = Checkpoint::from_bytes(content).ok_or_else(no_fit)?;
            Entry::Checkpoint(Box::new(checkpoint))
        }
        Kind::Records => Entry::Records(Records::from_bytes(content).ok_or_else(no_fit)?),
    })
}

fn no_fit() -> Text {
    "its parts do not fit together".into()
}

fn json<T: DeserializeOwned>(content: &[u8]) -> Result<T, Text> {
    serde_json::from_slice(content).map_err(|error| error.to_string().into())
}
