//! Records as columns: records of one shape, that is of one kind with the same fields, have in each word what resembles what the
//! one before had there, or what another had; what follows from the rest is not stored at all.
//!
//! `docs/dump-format.md` has the bytes.

mod bytes;
mod column;
mod index;
mod numbers;

use p2p_trace_common::{
    Ring,
    record::MAGIC,
    slot::{SLOT_SIZE, committed, guard},
};

use bytes::{Input, put_number};
use column::{Columns, Known};
use index::Index;

/// Bytes of a row: a slot.
const ROW: usize = SLOT_SIZE;
/// Words of a row.
const WORDS: usize = ROW / 8;
/// Words of a row by what they hold: the slot's header, then the record's.
const HEADER: usize = 0;
const KIND: usize = 1;
const VALID: usize = 2;
const SEQ: usize = 4;
const TIME: usize = 5;
const GUARD: usize = 15;
/// Those that are stored shape by shape. The task goes first, since the other words mostly follow from it, if from any.
const CELLS: [usize; 12] = [6, 7, 8, HEADER, 3, 9, 10, 11, 12, 13, 14, GUARD];
/// Shapes that the rows of a block can have. What has more is none of records.
const MAX_SHAPES: usize = 256;

type Row = [u64; WORDS];

/// What a CPU's next record is expected to have as its sequence number, in each ring. That of the hot ring is even, and the one of
/// the rare ring lacks its lowest bit, so that the difference to a sequence number tells the ring.
type Next = [u64; 2];

/// Which of [`Next`] a sequence number, or its difference from that, goes by.
const fn ring(seq: u64) -> usize {
    (seq & 1) as usize
}

const fn behind(seq: u64) -> u64 {
    (seq & !1).wrapping_add(2)
}

/// What the words that repeat a record's position are expected to be: they are stored as differences from that.
const fn repeated(seq: u64) -> (u64, u32) {
    let (_, position) = Ring::of_sequence(seq);
    (committed(position), guard(position))
}

/// The rows that end `content`, so many, as columns, and what is in front of them as it is. `None` where the rows hold no records.
#[must_use]
pub(super) fn split(content: &[u8], rows: usize) -> Option<Vec<u8>> {
    let kept = content.len().checked_sub(rows.checked_mul(ROW)?)?;
    let (kept, slots) = content.split_at(kept);
    let (slots, _) = slots.as_chunks::<ROW>();
    let table = Table::of(slots)?;
    let mut out = Vec::with_capacity(kept.len() + rows * 16);
    put_number(&mut out, kept.len() as u64);
    out.extend_from_slice(kept);
    table.put(&mut out);
    Some(out)
}

/// The content of so many bytes that [`split`] was given; `None` where the bytes are not what it returns.
#[must_use]
pub(super) fn join(split: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut input = Input(split);
    let kept = input.count(size)?;
    let rows = (size - kept) / ROW;
    let kept = input.bytes(kept)?;
    let mut out = vec![0; size];
    let (front, slots) = out.split_at_mut_checked(kept.len())?;
    front.copy_from_slice(kept);
    let (slots, rest) = slots.as_chunks_mut::<ROW>();
    (rest.is_empty() && rows == slots.len()).then_some(())?;
    take(&mut input, slots)?;
    input.0.is_empty().then_some(out)
}

/// Rows, sorted into columns.
struct Table {
    /// Of each row.
    shapes: Vec<u64>,
    cpus: Vec<u64>,
    seqs: Vec<u64>,
    times: Vec<u64>,
    /// Kind, hook, flags and valid fields of each shape.
    keys: Index,
    /// Of each shape, the cells of its rows.
    cells: Vec<Vec<[u64; CELLS.len()]>>,
    cpu_numbers: Index,
    first: Vec<Next>,
}

impl Table {
    fn of(slots: &[[u8; ROW]]) -> Option<Self> {
        let count = slots.len();
        let mut table = Self {
            shapes: Vec::with_capacity(count),
            cpus: Vec::with_capacity(count),
            seqs: Vec::with_capacity(count),
            times: Vec::with_capacity(count),
            keys: Index::new(),
            cells: Vec::new(),
            cpu_numbers: Index::new(),
            first: Vec::new(),
        };
        let mut next: Vec<[Option<u64>; 2]> = Vec::new();
        for slot in slots {
            let mut row = words_of(slot);
            let (magic, kind) = (row[KIND] as u32, row[KIND] >> 32);
            let (valid, cpu) = (row[VALID] & u64::from(u32::MAX), row[VALID] >> 32);
            let shape = table.keys.number(kind << 32 | valid);
            if magic != MAGIC || shape as usize >= MAX_SHAPES {
                return None;
            }
            let cpu = table.cpu_numbers.number(cpu);
            if cpu as usize >= next.len() {
                next.push([None; 2]);
                table.first.push([0; 2]);
            }
            let seq = row[SEQ];
            let ring = ring(seq);
            let expected = next[cpu as usize][ring].unwrap_or_else(|| {
                table.first[cpu as usize][ring] = seq & !1;
                seq & !1
            });
            next[cpu as usize][ring] = Some(behind(seq));
            let (header, guard) = repeated(seq);
            row[HEADER] = row[HEADER].wrapping_sub(header);
            row[GUARD] = row[GUARD].wrapping_sub(u64::from(guard) << 32);
            table.shapes.push(u64::from(shape));
            table.cpus.push(u64::from(cpu));
            table.seqs.push(seq.wrapping_sub(expected));
            table.times.push(row[TIME]);
            if shape as usize >= table.cells.len() {
                table.cells.push(Vec::new());
            }
            table.cells[shape as usize].push(CELLS.map(|word| row[word]));
        }
        Some(table)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let mut columns = Columns::new();
        put_number(out, self.keys.values().len() as u64);
        for key in self.keys.values() {
            out.extend_from_slice(&key.to_le_bytes());
        }
        put_number(out, self.first.len() as u64);
        for (cpu, next) in self.cpu_numbers.values().iter().zip(&self.first) {
            for number in [*cpu, next[0] >> 1, next[1] >> 1] {
                put_number(out, number);
            }
        }
        for column in [&self.shapes, &self.cpus, &self.seqs, &self.times] {
            columns.put(out, column, &mut Known::default());
        }
        let mut values = Vec::new();
        for rows in &self.cells {
            let mut known = Known::default();
            for cell in 0..CELLS.len() {
                values.clear();
                values.extend(rows.iter().map(|row| row[cell]));
                columns.put(out, &values, &mut known);
            }
        }
    }
}

/// Reads what [`Table::put`] has written.
fn take(input: &mut Input<'_>, slots: &mut [[u8; ROW]]) -> Option<()> {
    let keys = input.count(MAX_SHAPES)?;
    let (keys, _) = input.bytes(keys * 8)?.as_chunks();
    let keys: Vec<_> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
    let cpus = input.count(slots.len())?;
    let mut next: Vec<(u64, Next)> = Vec::new();
    for _ in 0..cpus {
        let (cpu, hot, rare) = (input.number()?, input.number()?, input.number()?);
        next.push((cpu, [hot << 1, rare << 1]));
    }
    let [mut shapes, mut cpus, mut seqs, mut times] = [const { Vec::new() }; 4];
    for column in [&mut shapes, &mut cpus, &mut seqs, &mut times] {
        column::take(input, slots.len(), column, &mut Known::default())?;
    }
    let mut rows_of = vec![Vec::new(); keys.len()];
    for (number, &shape) in (0u32..).zip(&shapes) {
        rows_of.get_mut(usize::try_from(shape).ok()?)?.push(number);
    }
    let mut values = Vec::new();
    for rows in &rows_of {
        let mut known = Known::default();
        for word in CELLS {
            column::take(input, rows.len(), &mut values, &mut known)?;
            for (&row, &value) in rows.iter().zip(&values) {
                put_word(slots.get_mut(row as usize)?, word, value);
            }
        }
    }
    let columns = shapes.iter().zip(&cpus).zip(seqs.iter().zip(&times));
    for (slot, ((&shape, &cpu), (&seq, &time))) in slots.iter_mut().zip(columns) {
        let key = keys.get(usize::try_from(shape).ok()?)?;
        let (cpu, next) = next.get_mut(usize::try_from(cpu).ok()?)?;
        let next = &mut next[ring(seq)];
        let seq = seq.wrapping_add(*next);
        *next = behind(seq);
        let (header, guard) = repeated(seq);
        let header = word_of(slot, HEADER).wrapping_add(header);
        let guard = word_of(slot, GUARD).wrapping_add(u64::from(guard) << 32);
        put_word(slot, HEADER, header);
        put_word(slot, KIND, u64::from(MAGIC) | (key >> 32) << 32);
        put_word(slot, VALID, key & u64::from(u32::MAX) | *cpu << 32);
        put_word(slot, SEQ, seq);
        put_word(slot, TIME, time);
        put_word(slot, GUARD, guard);
    }
    Some(())
}

fn words_of(slot: &[u8; ROW]) -> Row {
    std::array::from_fn(|word| word_of(slot, word))
}

fn word_of(slot: &[u8; ROW], word: usize) -> u64 {
    let (words, _) = slot.as_chunks::<8>();
    u64::from_le_bytes(words[word])
}

fn put_word(slot: &mut [u8; ROW], word: usize, value: u64) {
    let (words, _) = slot.as_chunks_mut::<8>();
    words[word] = value.to_le_bytes();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that are a slot of a record with these words.
    fn slot(mut words: Row) -> Vec<u8> {
        words[KIND] = words[KIND] << 32 | u64::from(MAGIC);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// As the kernel side writes it.
    fn written(cpu: u64, seq: u64, time: u64) -> Vec<u8> {
        let (header, guard) = repeated(seq);
        let mut words = [0; WORDS];
        (words[HEADER], words[VALID], words[SEQ], words[TIME]) = (header, cpu << 32, seq, time);
        words[GUARD] = u64::from(guard) << 32;
        slot(words)
    }

    #[test]
    fn what_follows_from_the_rest_takes_no_room() {
        let content: Vec<u8> = (0..1000)
            .flat_map(|row| {
                let (cpu, position) = (row % 2, row / 2 + 70_000);
                written(cpu, position << 1 | cpu, row * 1000)
            })
            .collect();
        let split = split(&content, 1000).unwrap();
        assert_eq!(join(&split, content.len()), Some(content));
        // Two columns with a bit each, since which CPU has a record, and so which ring here, follows from nothing; and of each group
        // of numbers what they have in common.
        assert!(split.len() < 2 * 1000 / 8 + 3 * 16 * 6, "{}", split.len());
    }

    #[test]
    fn what_is_no_record_is_left_to_others() {
        assert_eq!(split(&[0; ROW], 1), None);
        assert_eq!(split(&[0; ROW - 1], 1), None);
        let shapes = |count: u64| -> Vec<u8> {
            let row = |kind| slot(std::array::from_fn(|word| if word == KIND { kind } else { 0 }));
            (0..count).flat_map(row).collect()
        };
        assert!(split(&shapes(256), 256).is_some());
        assert_eq!(split(&shapes(257), 257), None);
    }

    #[test]
    fn bytes_behind_the_last_are_refused() {
        let content = [b"in front".to_vec(), written(0, 4, 1)].concat();
        let mut split = split(&content, 1).unwrap();
        assert_eq!(join(&split, content.len() + 1), None);
        assert_eq!(join(&split, content.len() - 1), None);
        assert_eq!(join(&split, content.len()), Some(content.clone()));
        split.push(0);
        assert_eq!(join(&split, content.len()), None);
    }

    fn any_slot() -> impl Strategy<Value = Vec<u8>> {
        // Of few kinds, so that rows have something in common.
        (prop::array::uniform16(any::<u64>()), 0u64..4, any::<bool>()).prop_map(
            |(mut words, kind, is_small)| {
                words[KIND] = kind;
                words[VALID] &= 3 << 32;
                if is_small {
                    words = words.map(|word| word & u64::from(u16::MAX) << 32);
                }
                slot(words)
            },
        )
    }

    proptest! {
        #[test]
        fn any_records_come_back(
            front in prop::collection::vec(any::<u8>(), 0..50),
            slots in prop::collection::vec(any_slot(), 0..150),
        ) {
            let content = [front, slots.concat()].concat();
            let split = split(&content, slots.len()).unwrap();
            prop_assert_eq!(join(&split, content.len()), Some(content));
        }

        #[test]
        fn any_bytes_are_joined_or_refused(bytes: Vec<u8>, size in 0usize..4096) {
            if let Some(content) = join(&bytes, size) {
                prop_assert_eq!(content.len(), size);
            }
        }

        #[test]
        fn changed_bytes_are_joined_or_refused(
            slots in prop::collection::vec(any_slot(), 1..150),
            changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        ) {
            let content = slots.concat();
            let mut split = split(&content, slots.len()).unwrap();
            for (place, value) in changes {
                let place = place.index(split.len());
                split[place] = value;
            }
            if let Some(joined) = join(&split, content.len()) {
                prop_assert_eq!(joined.len(), content.len());
            }
        }
    }
}
