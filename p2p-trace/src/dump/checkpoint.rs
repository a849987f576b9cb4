//! What was true at a point of the stream, so that what follows can be read without what was before: the records that
//! still matter, as they were, and what the rules had come to.

use p2p_trace_common::{Record, slot::SLOT_SIZE};
use serde::{Deserialize, Serialize};

use super::{
    describe,
    records::{Counts, put_record, record},
};
use crate::{
    event::{DeviceAddress, decode},
    output::json::names,
    pipeline::Pipeline,
    rules::{Lost, Rule},
};

/// Records in one block.
const MAX_RECORDS: usize = 65_536;
/// Bytes of the length in front of the description.
const LENGTH: usize = 4;

/// See the module. One that is large is stored in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it is.
    pub head: Head,
    /// The records that the model needs, in the order in which it needs them.
    pub records: Vec<Record>,
}

/// What stands before the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which part this is, from 0 on.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// The time that the stream had reached, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// What the run had come to.
    #[serde(with = "describe::counts")]
    pub counts: Counts,
    /// What the rules had come to.
    #[serde(default)]
    pub rules: Judged,
}

/// What the rules had come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Records of the hot ring that were lost: how many, and by when.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_hot: Lost,
    /// The same of the rare ring.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_rare: Lost,
    /// What they had found and what they were not sure of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
}

/// What a rule had come to for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The rule.
    #[serde(with = "names::rule")]
    pub rule: Rule,
    /// The device.
    #[serde(with = "names::device")]
    pub device: DeviceAddress,
    /// Findings so far.
    #[serde(default)]
    pub findings: u32,
    /// Why it was not sure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

fn is_none_lost(lost: &Lost) -> bool {
    *lost == Lost::default()
}

mod lost {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use super::Lost;

    pub(super) fn serialize<S: Serializer>(lost: &Lost, serializer: S) -> Result<S::Ok, S::Error> {
        (lost.count, lost.until_ns).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lost, D::Error> {
        let (count, until_ns) = Deserialize::deserialize(deserializer)?;
        Ok(Lost { count, until_ns })
    }
}

impl Checkpoint {
    /// What is true after all that `pipeline` has taken in.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        Self {
            head: Head {
                time_ns: pipeline.model().now_ns(),
                ..Head::default()
            },
            records: Vec::new(),
        }
    }

    /// The contents of its blocks, when the run has come to `counts`.
    pub(super) fn parts(&self, counts: Counts) -> Vec<Vec<u8>> {
        let mut chunks: Vec<_> = self.records.chunks(MAX_RECORDS).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let parts = chunks.len() as u32;
        let part = |(part, records)| {
            let head = Head {
                part,
                parts,
                counts,
                ..self.head.clone()
            };
            to_bytes(&head, records)
        };
        (0..).zip(chunks).map(part).collect()
    }

    /// The part that this content is, or `None` where it is not one that was written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
        let (head, slots) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let head = serde_json::from_slice(head).ok()?;
        let slots = slots.chunks_exact(SLOT_SIZE);
        slots.remainder().is_empty().then_some(())?;
        let records = slots.map(record).collect::<Option<_>>()?;
        Some(Self { head, records })
    }

    /// The kernel addresses in it that have names.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.records.iter().flat_map(addresses)
    }
}

/// The addresses of a record that have names: of its caller and of frames.
fn addresses(record: &Record) -> Vec<u64> {
    match decode::decode(record) {
        Ok(event) => event.caller.into_iter().chain(event.stack).collect(),
        Err(_) => Vec::new(),
    }
}

fn to_bytes(head: &Head, records: &[Record]) -> Vec<u8> {
    // A head is plain data, which serde can write.
    let json = serde_json::to_vec(head).unwrap_or_default();
    let mut bytes = Vec::with_capacity(LENGTH + json.len() + records.len() * SLOT_SIZE);
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&json);
    for record in records {
        put_record(&mut bytes, record);
    }
    bytes
}
