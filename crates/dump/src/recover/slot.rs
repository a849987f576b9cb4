//! Recognizes slots of the transport among similar data.
//!
//! A complete slot is redundant: its header is its position plus 1, the sequence number is made of the
//! position and the ring, and the last word is the lower half of the position. With the magic and the schema,
//! 136 bits must match, at an offset that is a multiple of 128. A chance match is not to be expected in all
//! the memory on earth.

use p2p_trace_common::{
    Record, Ring,
    config::MAX_CPUS,
    record::{MAGIC, SCHEMA},
    slot::{BUSY, SLOT_SIZE, committed, guard},
};
use p2p_trace_model::event::{
    user,
    words::{WORDS, to_record},
};

use super::bytes::u64_at;

/// The first word of a record without kind, hook and flags.
const SIGNATURE: u64 = MAGIC as u64 | (SCHEMA as u64) << 32;
const SIGNATURE_BITS: u64 = (1 << 40) - 1;

/// Minimum number of slots in a ring: positions that share a slot differ by a multiple of this.
const LEAST_LAP: u64 = 16;

/// Offset of the signature in a slot.
const SIGNATURE_AT: usize = 8;

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A complete record.
    Complete(Record),
    /// The record at this position was being written.
    Torn(Place),
}

/// A position of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The run.
    pub run: u64,
    /// The CPU, or [`user::CPU`].
    pub cpu: u32,
    /// The ring; for records of user space, [`Ring::Hot`] has no meaning.
    pub ring: Ring,
    /// The position.
    pub position: u64,
}

/// Calls `each` with every 128 bytes, aligned by `physical`, that have a record's signature, and their
/// offset.
#[inline]
pub(super) fn candidates(physical: u64, bytes: &[u8], mut each: impl FnMut(&[u8; SLOT_SIZE], usize)) {
    let skip = (physical.wrapping_neg() % SLOT_SIZE as u64) as usize;
    let Some(aligned) = bytes.get(skip..) else { return };
    let (slots, _) = aligned.as_chunks::<SLOT_SIZE>();
    for (index, slot) in slots.iter().enumerate() {
        let word = slot[SIGNATURE_AT..].first_chunk().copied().map(u64::from_le_bytes);
        if word.is_some_and(|word| word & SIGNATURE_BITS == SIGNATURE) {
            each(slot, skip + index * SLOT_SIZE);
        }
    }
}

/// The words behind the header.
fn words(slot: &[u8; SLOT_SIZE]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = u64_at(slot, 8 + index * 8).unwrap_or_default();
    }
    words
}

/// The ring and position that the record claims.
const fn place(record: &Record) -> Place {
    let (ring, position) =
        if record.cpu == user::CPU { (Ring::Hot, record.seq) } else { Ring::of_sequence(record.seq) };
    Place { run: record.run, cpu: record.cpu, ring, position }
}

const fn is_sound(record: &Record) -> bool {
    let known = record.cpu == user::CPU || record.cpu < MAX_CPUS;
    record.magic == MAGIC && record.schema == SCHEMA && record.kind != 0 && known
}

/// True if a ring can hold this record at this address. A ring's slots are consecutive from the beginning of
/// a page, so that a copied record (by the tracer or another program) is in the right place only by chance. A
/// copy in freed memory may have both ends intact, with other data between them.
pub(super) const fn is_in_place(record: &Record, physical: u64) -> bool {
    let place = place(record);
    record.cpu == user::CPU || (physical / SLOT_SIZE as u64) % LEAST_LAP == place.position % LEAST_LAP
}

/// The content of a slot; `None`: it is not a slot.
pub(super) fn content(slot: &[u8; SLOT_SIZE]) -> Option<Content> {
    let header = u64_at(slot, 0)?;
    let record = to_record(&words(slot));
    let place = place(&record);
    if !is_sound(&record) || header & !BUSY == 0 {
        return None;
    }
    let held = (header & !BUSY) - 1;
    let is_guarded = record.guard == guard(place.position);
    if header & BUSY == 0 {
        let is_complete = header == committed(place.position) && is_guarded;
        return is_complete.then_some(Content::Complete(record));
    }
    // Words are written in order: up to the sequence number they belong to the new record, or all of them
    // belong to the record that was here one or more laps before.
    let is_begun = place.position == held;
    let behind = held.wrapping_sub(place.position);
    let is_older = place.position < held && is_guarded && behind.is_multiple_of(LEAST_LAP);
    (is_begun || is_older).then_some(Content::Torn(Place { position: held, ..place }))
}

#[cfg(test)]
pub(super) mod tests {
    use p2p_trace_common::{Kind, slot::busy};
    use proptest::prelude::*;

    use super::*;
    use p2p_trace_model::event::words::from_record;

    /// A record of the kernel side at a position.
    pub(in crate::recover) fn record(run: u64, cpu: u32, ring: Ring, position: u64, time_ns: u64) -> Record {
        Record {
            kind: Kind::Alloc as u8,
            hook: p2p_trace_common::Hook::Alloc as u8,
            cpu,
            seq: ring.sequence(position),
            time_ns,
            guard: guard(position),
            ..user::blank(run)
        }
    }

    /// A slot with this header and record.
    pub(in crate::recover) fn slot(header: u64, record: &Record) -> [u8; SLOT_SIZE] {
        let mut slot = [0; SLOT_SIZE];
        slot[..8].copy_from_slice(&header.to_le_bytes());
        for (bytes, word) in slot[8..].chunks_exact_mut(8).zip(from_record(record)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        slot
    }

    #[test]
    fn accepts_complete_record_and_rejects_inconsistent_ones() {
        let complete = record(7, 3, Ring::Rare, 1000, 5);
        assert_eq!(content(&slot(committed(1000), &complete)), Some(Content::Complete(complete)));
        for other in [
            slot(committed(1001), &complete),
            slot(0, &complete),
            slot(BUSY, &complete),
            slot(committed(1000), &Record { guard: 999, ..complete }),
            slot(committed(1000), &Record { seq: complete.seq ^ 2, ..complete }),
            slot(committed(1000), &Record { cpu: MAX_CPUS, ..complete }),
            slot(committed(1000), &Record { schema: 1, ..complete }),
            slot(committed(1000), &Record { kind: 0, ..complete }),
        ] {
            assert_eq!(content(&other), None);
        }
        let by_user = Record { cpu: user::CPU, seq: 12, guard: guard(12), ..complete };
        assert_eq!(content(&slot(committed(12), &by_user)), Some(Content::Complete(by_user)));
    }

    #[test]
    fn recognizes_unfinished_record_at_every_word_after_sequence_number() {
        let (old, new) = (record(7, 3, Ring::Hot, 40, 5), record(7, 3, Ring::Hot, 72, 9));
        let torn = Content::Torn(Place { run: 7, cpu: 3, ring: Ring::Hot, position: 72 });
        let (before, after) = (slot(busy(72), &old), slot(busy(72), &new));
        for written in 0..=WORDS {
            let mut half = before;
            half[8..8 + written * 8].copy_from_slice(&after[8..8 + written * 8]);
            assert_eq!(content(&half), Some(torn), "{written} words");
        }
        let mut first = [0; SLOT_SIZE];
        first[..8 + 4 * 8].copy_from_slice(&after[..8 + 4 * 8]);
        assert_eq!(content(&first), Some(torn));
        assert_eq!(content(&slot(busy(73), &old)), None, "not the same slot of any ring");
    }

    #[test]
    fn record_is_in_place_at_its_position() {
        let record = record(7, 0, Ring::Rare, 35, 1);
        let slot = SLOT_SIZE as u64;
        assert!(is_in_place(&record, 0x1000 + 3 * slot) && is_in_place(&record, 0x1000 + 19 * slot));
        assert!(!is_in_place(&record, 0x1000 + 4 * slot));
    }

    #[test]
    fn finds_candidates_at_any_start_of_a_piece() {
        let complete = slot(committed(5), &record(7, 0, Ring::Hot, 5, 1));
        for shift in 0..SLOT_SIZE {
            let mut bytes = vec![0; 3 * SLOT_SIZE];
            bytes[SLOT_SIZE..2 * SLOT_SIZE].copy_from_slice(&complete);
            let mut found = Vec::new();
            candidates(0x1000 + shift as u64, &bytes[shift..], |_, at| found.push(at));
            assert_eq!(found, [SLOT_SIZE - shift]);
        }
    }

    proptest! {
        #[test]
        fn detects_changed_bit_in_header_or_sequence_number(position in 0..1u64 << 40, bit in 0..64usize, word in 0..2usize) {
            // Offsets of the header and of the sequence number.
            let at = [0, 32][word] + bit / 8;
            let complete = record(7, 3, Ring::Hot, position, 5);
            let mut bytes = slot(committed(position), &complete);
            bytes[at] ^= 1 << (bit % 8);
            // The lowest bit of the sequence number is the ring, which is not redundant.
            let is_ring = word == 1 && bit == 0;
            let found = content(&bytes);
            prop_assert!(is_ring || !matches!(found, Some(Content::Complete(_))), "{found:?}");
        }
    }
}
