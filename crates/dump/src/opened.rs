//! A file of a run, of which the header has been read.

use std::{collections::VecDeque, io::Read};

use p2p_trace_model::text::Text;

use super::{
    describe::Header,
    reader::{Damage, Entry, ReadError, Reader},
};

/// A file of which the header has been read.
#[derive(Debug)]
pub struct Opened<R> {
    pub(super) reader: Reader<R>,
    pub(super) header: Header,
    /// What stood in front of the header.
    pub(super) early: VecDeque<Entry>,
    pub(super) name: Text,
}

/// Why a file is not a dump that can be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// See there.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds no block of any dump.
    #[error("it is not an event dump: no block of one is in it")]
    NoDump,
    /// An input may have no end: what has no header in front is not read any further.
    #[error("it is not an event dump: no header of one is in its first {} MiB", .0 >> 20)]
    NoHeaderWithin(u64),
    /// It holds blocks, but no header.
    #[error("no header of the run is left in it: it cannot be judged")]
    NoHeader,
}

/// Bytes of blocks in front of the header that are kept: they are read only once the header is there.
const MAX_EARLY: usize = 16 << 20;
/// What a block takes beside its bytes.
const EACH: usize = 256;

/// A file begins with its header. In front of one may stand what is damaged.
const MAX_FRONT: u64 = 16 << 20;

impl<R: Read> Opened<R> {
    /// Reads up to the header.
    ///
    /// # Errors
    ///
    /// When it is no dump, its header is lost, or it cannot be read.
    pub fn open(input: R) -> Result<Self, OpenError> {
        Self::up_to_header(Reader::new(input))
    }

    /// The same for a dump that is still being written, of which `input` waits for more: it ends with the footer that ends
    /// the run.
    ///
    /// # Errors
    ///
    /// As for [`Opened::open`].
    pub fn follow(input: R) -> Result<Self, OpenError> {
        Self::up_to_header(Reader::until_end_of_run(input))
    }

    fn up_to_header(mut reader: Reader<R>) -> Result<Self, OpenError> {
        reader.expect_header_within(MAX_FRONT);
        let (mut early, mut bytes, mut omitted) = (VecDeque::new(), 0, 0);
        while let Some(entry) = reader.next_entry()? {
            if let Entry::Header(header) = entry {
                if omitted > 0 {
                    early.push_back(Entry::Damage(Damage::Early { blocks: omitted }));
                }
                return Ok(Self { reader, header: *header, early, name: Text::default() });
            }
            bytes += EACH + reader.size();
            if bytes <= MAX_EARLY {
                early.push_back(entry);
            } else {
                omitted += 1;
            }
        }
        if reader.has_no_header_within() {
            return Err(OpenError::NoHeaderWithin(MAX_FRONT));
        }
        Err(if reader.blocks() == 0 { OpenError::NoDump } else { OpenError::NoHeader })
    }

    /// The same under this name, by which sentences tell of it.
    #[must_use]
    pub fn named(self, name: impl Into<Text>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The run.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}
