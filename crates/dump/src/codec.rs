//! How the content of a block is stored: plain or compressed.

use lz4_flex::block::compress;

use super::{block::MAX_CONTENT, planes};

/// Plain.
pub(crate) const NONE: u8 = 0;
/// One LZ4 block (the block format, without frame or length).
pub(crate) const LZ4: u8 = 1;
/// LZ4 as above, of records turned into bit planes, behind the number of bytes of the planes. (2 was in use
/// before any release.)
pub(crate) const PLANES: u8 = 3;

/// Content up to this size is tried with every codec: such a small block, written early, has few similar
/// records.
const SMALL: usize = 16 << 10;

/// Maximum bytes of content per byte stored as planes, so that decoding a hostile file costs no more than
/// plain LZ4, within a small factor.
const MAX_GAIN: usize = 1024;

/// Content that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// A codec of a later version.
    #[error("codec {0} is not supported by this version")]
    Unknown(u8),
    /// The stored bytes are invalid, although their checksum matches.
    #[error("decompression failed")]
    Malformed,
}

/// Encodes content by the codec that makes it smallest. The content ends with `records` records, as slots.
/// Returns the codec and the bytes.
pub(crate) fn encode(content: Vec<u8>, records: usize) -> (u8, Vec<u8>) {
    let planes = (records > 0).then(|| planes::encode(&content, records)).flatten();
    let planes = planes
        .filter(|planes| planes.len() <= MAX_CONTENT)
        .map(|planes| {
            let mut stored = (planes.len() as u32).to_le_bytes().to_vec();
            stored.append(&mut compress(&planes));
            (PLANES, stored)
        })
        .filter(|(_, stored)| is_in_proportion(stored, content.len()));
    let plain = planes.is_none() || content.len() <= SMALL;
    let smallest = planes
        .into_iter()
        .chain(plain.then(|| (LZ4, compress(&content))))
        .min_by_key(|(_, stored)| stored.len());
    match smallest {
        Some((codec, stored)) if stored.len() < content.len() => (codec, stored),
        _ => (NONE, content),
    }
}

/// Decodes stored content to `decoded` bytes.
///
/// # Errors
///
/// If the codec is unknown, or the bytes are not valid for it.
pub(crate) fn decode(codec: u8, stored: &[u8], decoded: usize) -> Result<Vec<u8>, CodecError> {
    let content = match codec {
        NONE => stored.to_vec(),
        LZ4 => decompress(stored, decoded)?,
        PLANES => {
            let (size, planes) = stored.split_first_chunk().ok_or(CodecError::Malformed)?;
            let size = u32::from_le_bytes(*size) as usize;
            if size > MAX_CONTENT || !is_in_proportion(stored, decoded) {
                return Err(CodecError::Malformed);
            }
            planes::decode(&decompress(planes, size)?, decoded).ok_or(CodecError::Malformed)?
        }
        unknown => return Err(CodecError::Unknown(unknown)),
    };
    if content.len() == decoded { Ok(content) } else { Err(CodecError::Malformed) }
}

/// True if content of this size can have been stored as planes in this many bytes.
const fn is_in_proportion(stored: &[u8], content: usize) -> bool {
    content <= stored.len().saturating_mul(MAX_GAIN)
}

fn decompress(stored: &[u8], decoded: usize) -> Result<Vec<u8>, CodecError> {
    lz4_flex::block::decompress(stored, decoded).map_err(|_error| CodecError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stores_incompressible_content_plain() {
        assert_eq!(encode(vec![1, 2, 3], 0), (NONE, vec![1, 2, 3]));
        let (codec, stored) = encode(vec![7; 1000], 0);
        assert_eq!((codec, stored.len() < 100), (LZ4, true));
        assert_eq!(decode(LZ4, &stored, 1000), Ok(vec![7; 1000]));
        assert_eq!(decode(LZ4, &stored, 999), Err(CodecError::Malformed));
        assert_eq!(decode(NONE, &[1], 2), Err(CodecError::Malformed));
        assert_eq!(decode(2, &[], 0), Err(CodecError::Unknown(2)));
    }

    /// Rows that each follow from the previous one.
    fn rows(count: u64) -> Vec<u8> {
        let row = |position: u64| {
            let mut words = [0; 16];
            (words[0], words[1]) = (position + 1, u64::from(p2p_trace_common::record::MAGIC));
            (words[4], words[15]) = (position << 1, position << 32);
            words.map(u64::to_le_bytes).concat()
        };
        (0..count).flat_map(row).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "a thousand records take minutes there")]
    fn rejects_planes_with_excessive_gain() {
        let few = rows(140);
        let (codec, stored) = encode(few.clone(), 140);
        assert_eq!(codec, PLANES);
        assert!(decode(codec, &stored, few.len()).is_ok_and(|content| content == few));
        let many = rows(1000);
        let planes = planes::encode(&many, 1000).unwrap();
        let stored = [&(planes.len() as u32).to_le_bytes()[..], &compress(&planes)].concat();
        assert!(stored.len() * 1024 < many.len(), "{}", stored.len());
        assert_eq!(decode(PLANES, &stored, many.len()), Err(CodecError::Malformed));
        let (codec, stored) = encode(many.clone(), 1000);
        assert_eq!(codec, LZ4);
        assert!(decode(codec, &stored, many.len()).is_ok_and(|content| content == many));
    }

    #[test]
    #[cfg_attr(miri, ignore = "16 MiB take minutes there")]
    fn planes_larger_than_a_block_are_neither_written_nor_read() {
        let content = vec![0; MAX_CONTENT];
        let planes = [&(MAX_CONTENT as u32).to_le_bytes()[..], &content].concat();
        let stored = [&(planes.len() as u32).to_le_bytes()[..], &compress(&planes)].concat();
        assert_eq!(decode(PLANES, &stored, MAX_CONTENT), Err(CodecError::Malformed));
        assert_eq!(encode(content, 1).0, LZ4);
    }

    proptest! {
        #[test]
        fn any_content_round_trips(content in prop::collection::vec(any::<u8>(), 0..1000), records in 0usize..9) {
            let (codec, stored) = encode(content.clone(), records);
            prop_assert_eq!(decode(codec, &stored, content.len()), Ok(content));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(stored: Vec<u8>, decoded in 0usize..4096) {
            for codec in [NONE, LZ4, PLANES] {
                if let Ok(content) = decode(codec, &stored, decoded) {
                    prop_assert_eq!(content.len(), decoded);
                }
            }
        }
    }
}
