//! The content of a block of records: counts, a table of slices, and the records as 128-byte slots, as in a
//! ring.

use p2p_trace_common::{
    Record, Ring,
    record::MAGIC,
    slot::{SLOT_SIZE, committed},
};
use p2p_trace_model::{
    event::{
        user,
        words::{WORDS, Words, from_record, to_record},
    },
    pipeline::Slice,
    stream::order::Item,
};
use serde::{Deserialize, Serialize};

/// Bytes before the table of slices.
const HEAD_SIZE: usize = 32;
/// Bytes of a slice in the table.
const ENTRY_SIZE: usize = 16;
/// Maximum number of items in one block.
pub(crate) const MAX_ITEMS: usize = 4096;

/// In place of a slot's header: a loss that the reader of the ring found, not a record of the stream.
const LOSS_HEADER: u64 = 0;

/// Counts of a run in front of a block. They show how much is missing between two blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Records of the hot ring.
    pub hot: u64,
    /// Records of the rare ring.
    pub rare: u64,
    /// Records of user space, and losses.
    pub user: u64,
    /// Number of status blocks.
    pub statuses: u32,
}

impl Counts {
    /// True if some count is lower than in `other`, and none is higher.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        let all = |counts: &Self| [counts.hot, counts.rare, counts.user, counts.statuses.into()];
        self != other && all(self).iter().zip(all(other)).all(|(own, other)| *own <= other)
    }

    /// Counts an item.
    pub(crate) const fn add(&mut self, item: &Item) {
        let place = match item {
            Item::Record(record) if record.cpu != user::CPU => match Ring::of_sequence(record.seq).0 {
                Ring::Hot => &mut self.hot,
                Ring::Rare => &mut self.rare,
            },
            Item::Record(_) | Item::Loss(_) => &mut self.user,
        };
        *place = place.wrapping_add(1);
    }
}

/// A block of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Counts in front of the first record.
    pub before: Counts,
    /// Slices in the order in which they were consumed.
    pub slices: Vec<Slice>,
}

impl Records {
    /// Encodes the content of the block.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let items = self.slices.iter().map(|slice| slice.items.len()).sum::<usize>();
        let size = HEAD_SIZE + self.slices.len() * ENTRY_SIZE + items * SLOT_SIZE;
        let mut bytes = Vec::with_capacity(size);
        for word in [self.before.hot, self.before.rare, self.before.user] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.before.statuses.to_le_bytes());
        bytes.extend_from_slice(&(self.slices.len() as u32).to_le_bytes());
        for slice in &self.slices {
            bytes.extend_from_slice(&slice.watermark_ns.to_le_bytes());
            bytes.extend_from_slice(&(slice.items.len() as u64).to_le_bytes());
        }
        for item in self.slices.iter().flat_map(|slice| &slice.items) {
            put_item(&mut bytes, item);
        }
        bytes
    }

    /// Decodes a block; `None` if the content is malformed.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_SIZE)?;
        let half = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let before =
            Counts { hot: word(head, 0)?, rare: word(head, 8)?, user: word(head, 16)?, statuses: half(24)? };
        let slices = half(28)? as usize;
        let (table, slots) = rest.split_at_checked(slices.checked_mul(ENTRY_SIZE)?)?;
        let mut slots = slots.chunks_exact(SLOT_SIZE);
        let mut records = Self { before, slices: Vec::with_capacity(slices) };
        for entry in table.chunks_exact(ENTRY_SIZE) {
            let (watermark_ns, count) = (word(entry, 0)?, usize::try_from(word(entry, 8)?).ok()?);
            if count > slots.len() {
                return None;
            }
            let items = slots.by_ref().take(count).map(item).collect::<Option<_>>()?;
            records.slices.push(Slice { items, watermark_ns });
        }
        (slots.next().is_none() && slots.remainder().is_empty()).then_some(records)
    }
}

/// Appends records, each as a slot.
pub(super) fn put_record(bytes: &mut Vec<u8>, record: &Record) {
    put_slot(bytes, committed(Ring::of_sequence(record.seq).1), record);
}

fn put_item(bytes: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Record(record) => put_record(bytes, record),
        Item::Loss(loss) => put_slot(bytes, LOSS_HEADER, &user::Writer::new(0).loss(loss)),
    }
}

fn put_slot(bytes: &mut Vec<u8>, header: u64, record: &Record) {
    bytes.extend_from_slice(&header.to_le_bytes());
    for word in from_record(record) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
}

fn item(slot: &[u8]) -> Option<Item> {
    let record = record(slot)?;
    if word(slot, 0)? == LOSS_HEADER {
        user::loss(&record).map(Item::Loss)
    } else {
        Some(Item::Record(record))
    }
}

/// The record in a slot.
pub(super) fn record(slot: &[u8]) -> Option<Record> {
    let mut words: Words = [0; WORDS];
    for (index, place) in words.iter_mut().enumerate() {
        *place = word(slot, (index + 1) * 8)?;
    }
    let record = to_record(&words);
    (record.magic == MAGIC).then_some(record)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
