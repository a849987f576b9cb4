//! Records as bit planes: of each record the residual to an earlier similar one, and of 64 residuals at a
//! time the bits that are set in any of them. Repeated and predictable fields need no space, others as many
//! bits as they vary by. A slot can hold any 128 bytes.
//!
//! `docs/dump-format.md` describes the bytes.

use std::{array, collections::HashMap, iter, mem, ops::Range};

use foldhash::fast::RandomState;
use p2p_trace_common::{
    Kind, Ring,
    slot::{SLOT_SIZE, committed, guard},
};

/// Words of a slot, and the indexes of some of them.
const WORDS: usize = SLOT_SIZE / 8;
const HEADER: usize = 0;
const KIND: usize = 1;
const VALID: usize = 2;
const SEQ: usize = 4;
const TIME: usize = 5;
/// The task, or the parent of a stack record.
const OWNER: usize = 6;
const FRAMES: Range<usize> = 7..15;
const GUARD: usize = 15;
/// Columns of a group: the words of the residuals, then the number of the reference.
const COLUMNS: usize = WORDS + 1;
/// Rows of a group: the number of bits in a word.
const GROUP: usize = 64;
/// Number of CPUs whose sequence numbers are predicted separately; more CPUs share a prediction, which only
/// costs space.
const CPUS: u64 = 1024;

type Row = [u64; WORDS];
type Residual = [u64; COLUMNS];
type Group = [[u64; GROUP]; COLUMNS];

/// Encodes content that ends with `slots` slots; `None` if it is too short for them.
pub(crate) fn encode(content: &[u8], slots: usize) -> Option<Vec<u8>> {
    let front = content.len().checked_sub(slots.checked_mul(SLOT_SIZE)?)?;
    let (front, slots) = content.split_at_checked(front)?;
    let mut out = Vec::with_capacity(front.len() + slots.len() / 8);
    out.extend_from_slice(&(front.len() as u32).to_le_bytes());
    out.extend_from_slice(front);
    let (mut predictor, mut index) = (Predictor::new(), Index::default());
    for slots in slots.as_chunks::<SLOT_SIZE>().0.chunks(GROUP) {
        let mut group = [[0; GROUP]; COLUMNS];
        for (row, slot) in slots.iter().enumerate() {
            let (words, _) = slot.as_chunks();
            let words = array::from_fn(|word| u64::from_le_bytes(words[word]));
            let residual = predictor.residual(words, &mut index);
            group.iter_mut().zip(residual).for_each(|(column, word)| column[row] = word);
        }
        put(&mut out, group, slots.len());
    }
    Some(out)
}

/// Decodes content of `size` bytes; `None` if `input` is malformed.
pub(crate) fn decode(mut input: &[u8], size: usize) -> Option<Vec<u8>> {
    let front = u32::from_le_bytes(take(&mut input)?) as usize;
    let mut out = vec![0; size];
    let (place, slots) = out.split_at_mut_checked(front)?;
    place.copy_from_slice(input.split_off(..front)?);
    let (slots, rest) = slots.as_chunks_mut::<SLOT_SIZE>();
    let mut predictor = Predictor::new();
    for slots in slots.chunks_mut(GROUP) {
        let group = get(&mut input, slots.len())?;
        for (row, slot) in slots.iter_mut().enumerate() {
            let words = predictor.restore(&group.each_ref().map(|column| column[row]))?;
            slot.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
        }
    }
    (rest.is_empty() && input.is_empty()).then_some(out)
}

/// The state that encoder and decoder share.
struct Predictor {
    /// Rows that later rows can refer to; all words of the first are 0.
    references: Vec<Row>,
    /// The next sequence number by CPU and ring, always even.
    next: Vec<u64>,
    time_ns: u64,
}

impl Predictor {
    fn new() -> Self {
        Self { references: vec![[0; WORDS]], next: vec![0; CPUS as usize * Ring::ALL.len()], time_ns: 0 }
    }

    fn residual(&mut self, mut row: Row, index: &mut Index) -> Residual {
        let (seq, time_ns) = (row[SEQ], row[TIME]);
        toggle_position(&mut row, seq);
        row[SEQ] = seq.wrapping_sub(mem::replace(self.next(&row), following(seq)));
        row[TIME] = fold(time_ns.wrapping_sub(mem::replace(&mut self.time_ns, time_ns)));
        let (number, is_new) = index.find(&row, self.references.len());
        let reference = self.references.get(number).copied().unwrap_or_default();
        self.refer(number, is_new, row);
        let number = (number as u64) << 1 | u64::from(is_new);
        array::from_fn(|word| row.get(word).map_or(number, |value| value ^ reference[word]))
    }

    /// The row with this residual; `None` if it refers to a row that does not exist.
    fn restore(&mut self, residual: &Residual) -> Option<Row> {
        let number = usize::try_from(residual[WORDS] >> 1).ok()?;
        let reference = self.references.get(number)?;
        let mut row: Row = array::from_fn(|word| residual[word] ^ reference[word]);
        self.refer(number, residual[WORDS] & 1 == 1, row);
        let next = self.next(&row);
        let seq = next.wrapping_add(row[SEQ]);
        *next = following(seq);
        self.time_ns = self.time_ns.wrapping_add(unfold(row[TIME]));
        (row[SEQ], row[TIME]) = (seq, self.time_ns);
        toggle_position(&mut row, seq);
        Some(row)
    }

    /// Replaces the reference by the row, or adds the row as another reference.
    fn refer(&mut self, number: usize, is_new: bool, row: Row) {
        match self.references.get_mut(number) {
            Some(reference) if !is_new => *reference = row,
            _ => self.references.push(row),
        }
    }

    /// By the lowest bit of the sequence number, which is the ring; its residual has the same bit.
    fn next(&mut self, row: &Row) -> &mut u64 {
        let cpu = (row[VALID] >> 32) % CPUS;
        &mut self.next[(cpu << 1 | row[SEQ] & 1) as usize]
    }
}

const fn following(seq: u64) -> u64 {
    (seq & !1).wrapping_add(2)
}

/// Removes the words that follow from the sequence number, or restores them.
const fn toggle_position(row: &mut Row, seq: u64) {
    let (_, position) = Ring::of_sequence(seq);
    row[HEADER] ^= committed(position);
    row[GUARD] ^= (guard(position) as u64) << 32;
    if is_stack(row) {
        row[OWNER] = seq.wrapping_sub(row[OWNER]);
    }
}

const fn is_stack(row: &Row) -> bool {
    (row[KIND] >> 40) as u8 == Kind::Stack as u8
}

/// Maps signed numbers close to 0 to small unsigned ones.
const fn fold(number: u64) -> u64 {
    (number << 1) ^ (number.cast_signed() >> 63).cast_unsigned()
}

const fn unfold(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Chooses references: the last row of the same shape and owner (for a stack record, the record itself), else
/// the newest row of the shape (`None`). The decoder does not depend on the choice.
#[derive(Default)]
struct Index(HashMap<(u64, u32, Option<u64>), usize, RandomState>);

impl Index {
    /// The reference of a row, and whether the row becomes another reference, with the number `new`.
    fn find(&mut self, row: &Row, new: usize) -> (usize, bool) {
        let owner = if is_stack(row) {
            row[FRAMES].iter().fold(0, |mixed: u64, frame| mixed.rotate_left(9) ^ frame)
        } else {
            row[OWNER]
        };
        let (kind, valid) = (row[KIND], row[VALID] as u32);
        if let Some(&number) = self.0.get(&(kind, valid, Some(owner))) {
            return (number, false);
        }
        self.0.insert((kind, valid, Some(owner)), new);
        (self.0.insert((kind, valid, None), new).unwrap_or(0), true)
    }
}

/// Appends a mask of the non-zero planes of each column, then those planes.
fn put(out: &mut Vec<u8>, mut group: Group, rows: usize) {
    let masks = group.each_ref().map(|column| column.iter().fold(0u64, |mask, word| mask | word));
    out.extend_from_slice(masks.map(u64::to_le_bytes).as_flattened());
    for (column, mask) in group.iter_mut().zip(masks).filter(|(_, mask)| *mask != 0) {
        transpose(column);
        for plane in set_bits(mask) {
            out.extend_from_slice(&column[plane].to_le_bytes()[..rows.div_ceil(8)]);
        }
    }
}

fn get(input: &mut &[u8], rows: usize) -> Option<Group> {
    let mut group = [[0; GROUP]; COLUMNS];
    let masks: [u8; COLUMNS * 8] = take(input)?;
    let masks = masks.as_chunks().0.iter().map(|mask| u64::from_le_bytes(*mask));
    for (column, mask) in group.iter_mut().zip(masks).filter(|(_, mask)| *mask != 0) {
        for plane in set_bits(mask) {
            let mut bytes = [0; 8];
            bytes[..rows.div_ceil(8)].copy_from_slice(input.split_off(..rows.div_ceil(8))?);
            column[plane] = u64::from_le_bytes(bytes);
        }
        transpose(column);
    }
    Some(group)
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    input.split_off(..N)?.try_into().ok()
}

fn set_bits(mut mask: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let lowest = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        lowest
    })
}

/// Transposes a matrix of bits: swaps two quarters of it, then of its quarters, and so on.
fn transpose(matrix: &mut [u64; GROUP]) {
    let (mut half, mut mask) = (GROUP / 2, u64::MAX >> (GROUP / 2));
    while half > 0 {
        for square in matrix.chunks_exact_mut(2 * half) {
            let (upper, lower) = square.split_at_mut(half);
            for (upper, lower) in upper.iter_mut().zip(lower) {
                let swapped = (*upper >> half ^ *lower) & mask;
                *upper ^= swapped << half;
                *lower ^= swapped;
            }
        }
        half /= 2;
        mask ^= mask << half;
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::record::MAGIC;
    use proptest::prelude::*;

    use super::*;

    /// A hot record as the kernel side writes it, by the task `owner`, with matching other words.
    fn row(position: u64, cpu: u64, owner: u64) -> Row {
        let mut row = [owner.wrapping_mul(0x9e37_79b9_7f4a_7c15); WORDS];
        (row[KIND], row[VALID], row[OWNER]) = (u64::from(MAGIC), cpu << 32 | 7, owner);
        (row[SEQ], row[TIME]) = (position << 1, position * 1000 + cpu);
        (row[HEADER], row[GUARD]) = (committed(position), u64::from(guard(position)) << 32);
        row
    }

    fn bytes(rows: &[Row]) -> Vec<u8> {
        rows.as_flattened().iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn read_back(rows: &[Row]) -> Vec<u8> {
        let content = [b"front".as_slice(), &bytes(rows)].concat();
        let encoded = encode(&content, rows.len()).unwrap();
        assert_eq!(decode(&encoded, content.len()), Some(content));
        encoded
    }

    #[test]
    fn predictable_words_take_no_space() {
        let task: Vec<_> = (0..4096).map(|n| row(70_000 + n, 3, n % 15)).collect();
        let stack = |row: &Row| {
            let mut stack = *row;
            (stack[KIND], stack[OWNER]) = (64 << 40, row[SEQ] - 2);
            stack
        };
        let stacks = task.iter().map(stack).collect();
        for rows in [task, stacks] {
            // The masks, four bits in which the owners differ, and once all their different words.
            let least = rows.len() / GROUP * 8 * (COLUMNS + 4);
            let size = read_back(&rows).len();
            assert!((least..least + size_of::<Group>()).contains(&size), "{size} bytes, {least} at least");
        }
    }

    #[test]
    fn encoded_bytes_match_the_format() {
        let mut rows = [[0; WORDS]; 3];
        (rows[0][HEADER], rows[0][KIND]) = (1, 1 << 40);
        (rows[1][HEADER], rows[1][KIND], rows[1][VALID]) = (2, 1 << 40, 512 << 32);
        (rows[1][SEQ], rows[1][TIME], rows[1][GUARD]) = (2, 5, 1 << 32);
        // A stack, on a CPU that shares its prediction with the first row's CPU.
        (rows[2][HEADER], rows[2][KIND], rows[2][VALID]) = (2, 64 << 40, CPUS << 32);
        (rows[2][SEQ], rows[2][TIME], rows[2][GUARD]) = (2, 5, 1 << 32);
        let mut masks = [0; COLUMNS];
        (masks[KIND], masks[VALID], masks[SEQ]) = (0x41 << 40, 0x600 << 32, 0b10);
        (masks[TIME], masks[OWNER], masks[WORDS]) = (0b1010, 0b10, 0b11);
        let masks = masks.map(u64::to_le_bytes);
        let planes = [1, 4, 2, 4, 2, 2, 2, 4, 5, 2];
        let encoded = [b"\x05\0\0\0front", masks.as_flattened(), &planes].concat();
        assert_eq!(read_back(&rows), encoded);
        // The first row refers to a second reference, which does not exist yet.
        let mut wrong = encoded;
        *wrong.last_mut().unwrap() = 3;
        assert_eq!(decode(&wrong, 5 + 3 * SLOT_SIZE), None);
    }

    #[test]
    fn rejects_content_shorter_than_slots() {
        assert_eq!(encode(&[0; SLOT_SIZE - 1], 1), None);
        assert_eq!(encode(&[], usize::MAX), None);
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let any = prop::array::uniform16(any::<u64>());
        let stack = any.prop_map(|mut words| {
            words[KIND] = u64::from(Kind::Stack as u8) << 40;
            words
        });
        let usual =
            (0..100u64, 0..3u64, 0..5u64).prop_map(|(position, cpu, owner)| row(position, cpu, owner));
        prop_oneof![any, stack, usual]
    }

    proptest! {
        #[test]
        fn any_rows_round_trip_and_truncation_is_malformed(
            rows in prop::collection::vec(any_row(), 1..150),
            cut: prop::sample::Index,
        ) {
            let mut encoded = read_back(&rows);
            let size = b"front".len() + rows.len() * SLOT_SIZE;
            prop_assert_eq!(decode(&encoded[..cut.index(encoded.len())], size), None);
            prop_assert_eq!(decode(&encoded, size + 1), None);
            encoded.push(0);
            prop_assert_eq!(decode(&encoded, size), None);
        }

        #[test]
        fn changed_bytes_decode_or_are_malformed(
            rows in prop::collection::vec(any_row(), 0..150),
            changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
            other_size in 0usize..20_000,
        ) {
            let mut encoded = read_back(&rows);
            for (place, value) in changes {
                let place = place.index(encoded.len());
                encoded[place] = value;
            }
            for size in [b"front".len() + rows.len() * SLOT_SIZE, other_size] {
                let decoded = decode(&encoded, size);
                prop_assert!(decoded.is_none_or(|content| content.len() == size));
            }
        }

        #[test]
        fn transpose_swaps_rows_and_columns(matrix in prop::array::uniform32(any::<[u64; 2]>()), row in 0..GROUP, column in 0..GROUP) {
            let before: [u64; GROUP] = matrix.as_flattened().try_into().unwrap();
            let mut after = before;
            transpose(&mut after);
            prop_assert_eq!(before[row] >> column & 1, after[column] >> row & 1);
        }
    }
}
