//! How the content of a block is stored: as it is, or compressed.

/// As it is.
pub const NONE: u8 = 0;
/// One LZ4 block (the block format, without frame or length).
pub const LZ4: u8 = 1;

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

/// Stores content by whichever codec makes it smaller: returns the codec and the bytes.
#[must_use]
pub fn encode(content: Vec<u8>) -> (u8, Vec<u8>) {
    let compressed = lz4_flex::block::compress(&content);
    if compressed.len() < content.len() {
        (LZ4, compressed)
    } else {
        (NONE, content)
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
        LZ4 => lz4_flex::block::decompress(stored, decoded).map_err(|_error| CodecError::Malformed)?,
        unknown => return Err(CodecError::Unknown(unknown)),
    };
    if content.len() == decoded {
        Ok(content)
    } else {
        Err(CodecError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        assert_eq!(encode(vec![1, 2, 3]), (NONE, vec![1, 2, 3]));
        let (codec, stored) = encode(vec![7; 1000]);
        assert_eq!((codec, stored.len() < 100), (LZ4, true));
        assert_eq!(decode(LZ4, &stored, 1000), Ok(vec![7; 1000]));
        assert_eq!(decode(LZ4, &stored, 999), Err(CodecError::Malformed));
        assert_eq!(decode(NONE, &[1], 2), Err(CodecError::Malformed));
        assert_eq!(decode(9, &[], 0), Err(CodecError::Unknown(9)));
    }

    proptest! {
        #[test]
        fn any_content_survives(content: Vec<u8>) {
            let (codec, stored) = encode(content.clone());
            prop_assert_eq!(decode(codec, &stored, content.len()), Ok(content));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(stored: Vec<u8>, decoded in 0usize..4096) {
            for codec in [NONE, LZ4] {
                if let Ok(content) = decode(codec, &stored, decoded) {
                    prop_assert_eq!(content.len(), decoded);
                }
            }
        }
    }
}
