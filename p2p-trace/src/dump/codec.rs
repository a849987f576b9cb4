//! How the content of a block is stored: as it is, or compressed.

use lz4_flex::block::compress;

use super::columns;

/// As it is.
pub const NONE: u8 = 0;
/// One LZ4 block (the block format, without frame or length).
pub const LZ4: u8 = 1;
/// As [`LZ4`], of records turned into columns.
pub const COLUMNS: u8 = 2;

/// Content up to this size is tried in every way: so little, written at once, has few records that resemble each other.
const SMALL: usize = 16 << 10;

/// Content that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A codec of a later version.
    #[error("it is stored by codec {0}, which this version does not know")]
    Unknown(u8),
    /// What was stored is not what was written, although its checksum fits.
    #[error("it cannot be decompressed")]
    Malformed,
}

/// Stores content by whichever codec makes it smaller, with columns only where it `has_records`: returns the codec and the bytes.
#[must_use]
pub fn encode(content: Vec<u8>, has_records: bool) -> (u8, Vec<u8>) {
    let columns = has_records.then(|| (COLUMNS, compress(&columns::split(&content))));
    let plain = (!has_records || content.len() <= SMALL).then(|| (LZ4, compress(&content)));
    let smallest = columns
        .into_iter()
        .chain(plain)
        .min_by_key(|(_, stored)| stored.len());
    match smallest {
        Some((codec, stored)) if stored.len() < content.len() => (codec, stored),
        _ => (NONE, content),
    }
}

/// The content of `decoded` bytes that was stored.
///
/// # Errors
///
/// When the codec is not known, or the bytes are not what it writes.
pub fn decode(codec: u8, stored: &[u8], decoded: usize) -> Result<Vec<u8>, CodecError> {
    let content = match codec {
        NONE => stored.to_vec(),
        LZ4 => decompress(stored, decoded)?,
        COLUMNS => columns::join(&decompress(stored, decoded)?),
        unknown => return Err(CodecError::Unknown(unknown)),
    };
    if content.len() == decoded {
        Ok(content)
    } else {
        Err(CodecError::Malformed)
    }
}

fn decompress(stored: &[u8], decoded: usize) -> Result<Vec<u8>, CodecError> {
    lz4_flex::block::decompress(stored, decoded).map_err(|_error| CodecError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        assert_eq!(encode(vec![1, 2, 3], false), (NONE, vec![1, 2, 3]));
        let (codec, stored) = encode(vec![7; 1000], false);
        assert_eq!((codec, stored.len() < 100), (LZ4, true));
        assert_eq!(decode(LZ4, &stored, 1000), Ok(vec![7; 1000]));
        assert_eq!(decode(LZ4, &stored, 999), Err(CodecError::Malformed));
        assert_eq!(decode(NONE, &[1], 2), Err(CodecError::Malformed));
        assert_eq!(decode(9, &[], 0), Err(CodecError::Unknown(9)));
    }

    proptest! {
        #[test]
        fn any_content_survives(content: Vec<u8>, has_records: bool) {
            let (codec, stored) = encode(content.clone(), has_records);
            prop_assert_eq!(decode(codec, &stored, content.len()), Ok(content));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(stored: Vec<u8>, decoded in 0usize..4096) {
            for codec in [NONE, LZ4, COLUMNS] {
                if let Ok(content) = decode(codec, &stored, decoded) {
                    prop_assert_eq!(content.len(), decoded);
                }
            }
        }
    }
}
