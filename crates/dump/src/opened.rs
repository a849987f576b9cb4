//! A file of a run whose header has been read.

use std::{collections::VecDeque, io::Read};

use p2p_trace_model::text::Text;

use super::{
    describe::Header,
    reader::{Damage, Entry, ReadError, Reader},
};

/// A file whose header has been read.
#[derive(Debug)]
pub struct Opened<R> {
    pub(super) reader: Reader<R>,
    pub(super) header: Header,
    /// The entries in front of the header.
    pub(super) early: VecDeque<Entry>,
    pub(super) name: Text,
}

/// Why a file cannot be read as a dump.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// See [`ReadError`].
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds no intact block.
    #[error("not a p2p-trace dump")]
    NoDump,
    /// No header in the first part of the input, which may be endless, so that the rest is not read.
    #[error("not a p2p-trace dump: no header in the first {} MiB", .0 >> 20)]
    NoHeaderWithin(u64),
    /// It holds blocks, but no header.
    #[error("the run's header is missing from the dump, so its records cannot be interpreted")]
    NoHeader,
}

/// Maximum bytes of entries in front of the header that are kept until the header is read.
const MAX_EARLY: usize = 16 << 20;
/// Memory that an entry needs in addition to its bytes.
const EACH: usize = 256;

/// A file begins with its header. Only damaged data may precede it.
const MAX_FRONT: u64 = 16 << 20;

impl<R: Read> Opened<R> {
    /// Reads up to the header.
    ///
    /// # Errors
    ///
    /// If the input is not a dump, its header is lost, or it cannot be read.
    pub fn open(input: R) -> Result<Self, OpenError> {
        Self::up_to_header(Reader::new(input))
    }

    /// As [`Opened::open`] for a dump that is still being written, where `input` waits for more: reading ends
    /// with the footer that ends the run.
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

    /// Sets the name used in messages.
    #[must_use]
    pub fn named(self, name: impl Into<Text>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The header of the run.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}
