//! Checkpoints: the state at a point of the stream, so that a reader can start there. A checkpoint holds the
//! records that still matter, unchanged, and the state of the rules.

mod cap;
mod gather;
#[cfg(test)]
mod rotated_tests;
mod write;

use p2p_trace_common::{Record, Ring, slot::SLOT_SIZE};
use p2p_trace_model::{
    accounting::Tally,
    event::decode,
    pipeline::{Pipeline, Resumption},
    rules::{RuleState, Rules},
    state::Model,
    stream::{
        assemble::{Assembler, Element},
        order::Item,
    },
};
use serde::{Deserialize, Serialize};

use cap::Cap;

use super::records::{Counts, put_record, record};

/// Maximum number of records in one block.
const MAX_RECORDS: usize = 65_536;
/// Bytes of the length field in front of the JSON.
const LENGTH: usize = 4;

/// A checkpoint, see the module. A large one is stored in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The part in front of the records.
    pub head: Head,
    /// The records that the model needs, in the order in which it needs them.
    pub records: Vec<Record>,
}

/// The content of one block of a checkpoint.
pub(super) struct Part {
    /// The block's content.
    pub(super) content: Vec<u8>,
    /// Number of records at the end of the content.
    pub(super) records: usize,
}

/// The part of a checkpoint in front of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Index of this part, from 0.
    pub part: u32,
    /// Number of parts.
    pub parts: u32,
    /// The time that the stream had reached, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The counts of the run at this point.
    pub counts: Counts,
    /// The state of the rules.
    #[serde(default)]
    pub rules: RuleState,
    /// The checkpoint covers everything that happened before this time, `CLOCK_BOOTTIME` in nanoseconds, and
    /// nothing later; 0: not recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reached_ns: u64,
    /// Delivered and lost records up to this point, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// Number of outstanding references that are not among the records, the smallest ones. The checkpoint has
    /// only the place of their memory, not its holder.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Checkpoint {
    /// The state after everything that `pipeline` has consumed, in the run with this number.
    #[must_use]
    pub fn of(pipeline: &Pipeline, run: u64) -> Self {
        Self::capped(pipeline, run, usize::MAX)
    }

    /// As [`Checkpoint::of`], limited to the `references` largest outstanding references. The others count as
    /// lost hot records: no rule that needs them is certain.
    #[must_use]
    pub fn capped(pipeline: &Pipeline, run: u64, references: usize) -> Self {
        let mut checkpoint = Self::at(pipeline.model(), pipeline.rules(), run, references);
        checkpoint.head.reached_ns = pipeline.reached_ns();
        checkpoint.head.tally = Some(pipeline.tally().clone());
        checkpoint
    }

    /// The state of a model and of the rules that evaluated it.
    pub(crate) fn at(model: &Model, rules: &Rules, run: u64, references: usize) -> Self {
        let cap = Cap::of(model, references);
        let omitted = cap.omitted();
        let mut rule_state = rules.rule_state(model);
        if omitted > 0 {
            let lost = &mut rule_state.lost_hot;
            lost.count = lost.count.saturating_add(omitted);
            lost.until_ns = lost.until_ns.max(model.now_ns());
        }
        let lost = Ring::ALL.map(|ring| rules.coverage().lost(ring));
        Self {
            head: Head { time_ns: model.now_ns(), rules: rule_state, omitted, ..Head::default() },
            records: gather::gather(model, run, lost, cap),
        }
    }

    /// Restores a pipeline, which then continues from here.
    pub fn restore(&self, pipeline: &mut Pipeline) {
        pipeline.resume(&Resumption {
            elements: self.elements(),
            rules: &self.head.rules,
            time_ns: self.head.time_ns,
            reached_ns: self.head.reached_ns,
            tally: self.head.tally.as_ref(),
        });
    }

    /// The records as elements that the model consumes.
    pub(crate) fn elements(&self) -> Vec<Element> {
        let mut assembler = Assembler::new();
        let mut elements = Vec::with_capacity(self.records.len());
        for &record in &self.records {
            assembler.push(&Item::Record(record), |element| elements.push(element.clone()));
        }
        assembler.finish(|element| elements.push(element.clone()));
        elements
    }

    /// The contents of the checkpoint's blocks, at the given counts of the run.
    pub(super) fn parts(&self, counts: Counts) -> Vec<Part> {
        let mut chunks: Vec<_> = self.records.chunks(MAX_RECORDS).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let parts = chunks.len() as u32;
        let part = |(part, records)| {
            let head = Head { part, parts, counts, ..self.head.clone() };
            Part { content: to_bytes(&head, records), records: records.len() }
        };
        (0..).zip(chunks).map(part).collect()
    }

    /// Decodes a part; `None` if the content is malformed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
        let (head, slots) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let head = serde_json::from_slice(head).ok()?;
        let slots = slots.chunks_exact(SLOT_SIZE);
        slots.remainder().is_empty().then_some(())?;
        let records = slots.map(record).collect::<Option<_>>()?;
        Some(Self { head, records })
    }

    /// The kernel addresses in the records that have names.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.records.iter().flat_map(addresses)
    }
}

/// The addresses of a record that have names: its caller and its frames.
fn addresses(record: &Record) -> Vec<u64> {
    match decode::decode(record) {
        Ok(event) => event.caller.into_iter().chain(event.stack).collect(),
        Err(_) => Vec::new(),
    }
}

fn to_bytes(head: &Head, records: &[Record]) -> Vec<u8> {
    // A head is plain data, which serde can always write.
    let json = serde_json::to_vec(head).unwrap_or_default();
    let mut bytes = Vec::with_capacity(LENGTH + json.len() + records.len() * SLOT_SIZE);
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&json);
    for record in records {
        put_record(&mut bytes, record);
    }
    bytes
}
