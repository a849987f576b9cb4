//! Records as columns: what a record differs in from the one before is little and lies in few of its bytes, so that it
//! compresses far better byte position by byte position than record by record.

use p2p_trace_common::slot::SLOT_SIZE;

/// Bytes of a row.
const ROW: usize = SLOT_SIZE;
/// Bytes of a word, and rows that are turned around at once.
const WORD: usize = 8;
/// Words of a row.
const WORDS: usize = ROW / WORD;

/// The same bytes in another order: what does not fill a row as it is, then the differences of each word of a row from the same word
/// of the row before, all first bytes, then all second bytes, and so on.
#[must_use]
pub(super) fn split(content: &[u8]) -> Vec<u8> {
    let (rest, rows) = content.split_at(content.len() % ROW);
    let mut out = vec![0; content.len()];
    let (kept, planes) = out.split_at_mut(rest.len());
    kept.copy_from_slice(rest);
    let (rows, _) = rows.as_chunks::<ROW>();
    if rows.is_empty() {
        return out;
    }
    for (word, planes) in planes.chunks_exact_mut(WORD * rows.len()).enumerate() {
        let mut above = 0;
        let mut difference = |row: &[u8; ROW]| {
            let value = word_of(row, word);
            let difference = value.wrapping_sub(above);
            above = value;
            difference
        };
        let (groups, last) = rows.as_chunks::<WORD>();
        for (index, group) in groups.iter().enumerate() {
            let turned = transposed(std::array::from_fn(|row| difference(&group[row])));
            for (plane, bytes) in planes.chunks_exact_mut(rows.len()).zip(turned) {
                plane[index * WORD..][..WORD].copy_from_slice(&bytes.to_le_bytes());
            }
        }
        for (index, row) in last.iter().enumerate() {
            let bytes = difference(row).to_le_bytes();
            for (plane, byte) in planes.chunks_exact_mut(rows.len()).zip(bytes) {
                plane[groups.len() * WORD + index] = byte;
            }
        }
    }
    out
}

/// What [`split`] was given.
#[must_use]
pub(super) fn join(split: &[u8]) -> Vec<u8> {
    let (rest, planes) = split.split_at(split.len() % ROW);
    let mut out = vec![0; split.len()];
    let (kept, rows) = out.split_at_mut(rest.len());
    kept.copy_from_slice(rest);
    let (rows, _) = rows.as_chunks_mut::<ROW>();
    if rows.is_empty() {
        return out;
    }
    let count = rows.len();
    for (word, planes) in planes.chunks_exact(WORD * count).enumerate() {
        let mut above = 0u64;
        let mut put = |row: &mut [u8; ROW], difference: u64| {
            above = above.wrapping_add(difference);
            row[word * WORD..][..WORD].copy_from_slice(&above.to_le_bytes());
        };
        let (groups, last) = rows.as_chunks_mut::<WORD>();
        let whole = groups.len() * WORD;
        for (index, group) in groups.iter_mut().enumerate() {
            let turned = transposed(std::array::from_fn(|byte| {
                word_of(&planes[byte * count + index * WORD..], 0)
            }));
            for (row, difference) in group.iter_mut().zip(turned) {
                put(row, difference);
            }
        }
        for (index, row) in last.iter_mut().enumerate() {
            let bytes: [u8; WORD] = std::array::from_fn(|byte| planes[byte * count + whole + index]);
            put(row, u64::from_le_bytes(bytes));
        }
    }
    out
}

/// Word `index`, 0 where there is none.
fn word_of(bytes: &[u8], index: usize) -> u64 {
    let word = bytes.get(index * WORD..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// Byte *b* of word *w* becomes byte *w* of word *b*: three rounds, in which blocks of 4, 2 and 1 bytes change places.
fn transposed(mut words: [u64; WORD]) -> [u64; WORD] {
    const LOW: [u64; 3] = [
        0x0000_0000_ffff_ffff,
        0x0000_ffff_0000_ffff,
        0x00ff_00ff_00ff_00ff,
    ];
    for (low, distance) in LOW.into_iter().zip([4, 2, 1]) {
        let shift = 8 * distance;
        for first in (0..WORD).filter(|word| word & distance == 0) {
            let (upper, lower) = (words[first], words[first + distance]);
            words[first] = upper & low | (lower & low) << shift;
            words[first + distance] = upper >> shift & low | lower & !low;
        }
    }
    words
}

const _: () = assert!(WORDS * WORD == ROW);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_turned_around() {
        let words = std::array::from_fn(|word| {
            u64::from_le_bytes(std::array::from_fn(|byte| (word * WORD + byte) as u8))
        });
        let turned = transposed(words);
        for (byte, word) in turned.into_iter().enumerate() {
            let expected: [u8; WORD] = std::array::from_fn(|word| (word * WORD + byte) as u8);
            assert_eq!(word.to_le_bytes(), expected);
        }
    }

    #[test]
    fn differences_lie_by_position() {
        let mut content = vec![9];
        for row in 0..9u64 {
            let mut slot = [0; ROW];
            slot[..8].copy_from_slice(&(1000 + row).to_le_bytes());
            content.extend_from_slice(&slot);
        }
        let split = split(&content);
        assert_eq!(split[..10], [9, 0xe8, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(split[10..20], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]);
    }

    proptest! {
        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(any::<u8>(), 0..40 * ROW)) {
            let split = split(&content);
            prop_assert_eq!(split.len(), content.len());
            prop_assert_eq!(join(&split), content);
        }
    }
}
