//! The block: every dump is a sequence of blocks.

/// First bytes of a block. Not text, so that a dump is not mistaken for text, and with both line endings, so
/// that a transfer that translates them is detected.
pub const MAGIC: [u8; 8] = *b"\x89P2PTD\r\n";
/// Version of the format that is written. All versions from `OLDEST_FORMAT` up to it can be read.
pub const FORMAT: u8 = 1;
/// The oldest version of the format that can be read: the first that was released.
pub(crate) const OLDEST_FORMAT: u8 = 1;
/// Bytes of a block's header.
pub(crate) const HEADER_SIZE: usize = 32;
/// Maximum bytes of a block's content, both stored and decoded. A reader needs little more memory than this.
pub(crate) const MAX_CONTENT: usize = 16 << 20;

/// The content of a block.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The run: the first block of each file, and repeated.
    Header = 1,
    /// Records, in slices.
    Records = 2,
    /// A change of the tracing status.
    Status = 3,
    /// Names of addresses.
    Symbols = 4,
    /// The state at this point of the stream.
    Checkpoint = 5,
    /// The end of a file.
    Footer = 6,
    /// Log statements of the kernel side.
    Diagnostics = 7,
}

impl Kind {
    /// The kind with this number.
    pub(crate) const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Header),
            2 => Some(Self::Records),
            3 => Some(Self::Status),
            4 => Some(Self::Symbols),
            5 => Some(Self::Checkpoint),
            6 => Some(Self::Footer),
            7 => Some(Self::Diagnostics),
            _ => None,
        }
    }

    /// The name used in every output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Records => "records",
            Self::Status => "status",
            Self::Symbols => "symbols",
            Self::Checkpoint => "checkpoint",
            Self::Footer => "footer",
            Self::Diagnostics => "diagnostics",
        }
    }
}

/// The checksum of a block's content.
pub(crate) fn checksum(content: &[u8]) -> u32 {
    crc32c::crc32c(content)
}

/// A block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Version of the format.
    pub format: u8,
    /// A [`Kind`], or a kind of a later version.
    pub kind: u8,
    /// How the content is stored: see [`super::codec`].
    pub codec: u8,
    /// Bytes of content that follow the header.
    pub stored: u32,
    /// Bytes of the content after decoding.
    pub decoded: u32,
    /// CRC-32C of the content as stored.
    pub crc: u32,
    /// Number of the block in the run, over all of its files.
    pub number: u32,
}

impl BlockHeader {
    /// Encodes the header.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        // The twelfth byte is reserved.
        bytes[8..12].copy_from_slice(&[self.format, self.kind, self.codec, 0]);
        let words = [self.stored, self.decoded, self.crc, self.number];
        for (place, word) in bytes[12..28].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a header; `None` if the bytes are not a header, or a damaged one.
    pub(crate) fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = Self {
            format: bytes[8],
            kind: bytes[9],
            codec: bytes[10],
            stored: word(12),
            decoded: word(16),
            crc: word(20),
            number: word(24),
        };
        let fits = header.stored as usize <= MAX_CONTENT && header.decoded as usize <= MAX_CONTENT;
        (bytes[..8] == MAGIC && word(28) == crc32c::crc32c(&bytes[..28]) && fits).then_some(header)
    }

    /// True if this content, as stored, is intact.
    pub(crate) fn fits(&self, content: &[u8]) -> bool {
        checksum(content) == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: BlockHeader = BlockHeader {
        format: FORMAT,
        kind: Kind::Records as u8,
        codec: 1,
        stored: 0x0102_0304,
        decoded: 0x0011_2233,
        crc: 0xdead_beef,
        number: 7,
    };

    #[test]
    fn header_round_trips_and_rejects_any_flipped_bit() {
        let header = BlockHeader { stored: 0x0002_0304, ..HEADER };
        let bytes = header.to_bytes();
        assert_eq!(BlockHeader::from_bytes(&bytes), Some(header));
        for bit in 0..HEADER_SIZE * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::from_bytes(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn rejects_length_beyond_limit() {
        assert!(HEADER.stored as usize > MAX_CONTENT);
        assert_eq!(BlockHeader::from_bytes(&HEADER.to_bytes()), None);
    }
}
