//! What was true at a point of the stream, so that what follows can be read without what was before: the records that
//! still matter, as they were, and what the rules had come to.

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

/// What one block of it holds.
pub(super) struct Part {
    /// The block's content.
    pub(super) content: Vec<u8>,
    /// So many records end it.
    pub(super) records: usize,
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
    pub counts: Counts,
    /// What the rules had come to.
    #[serde(default)]
    pub rules: RuleState,
    /// It holds everything that happened before this time, `CLOCK_BOOTTIME` in nanoseconds, and nothing later; 0: not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reached_ns: u64,
    /// What had been delivered and lost by then, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// References that were out and are not among the records, the smallest: of their memory only the place is told, not who
    /// took it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Checkpoint {
    /// What is true after all that `pipeline` has taken in, in the run of this number.
    #[must_use]
    pub fn of(pipeline: &Pipeline, run: u64) -> Self {
        Self::capped(pipeline, run, usize::MAX)
    }

    /// The same, with no more than so many of the references that are out, the largest. The others leave hot records lost: no
    /// rule that needs them is sure.
    #[must_use]
    pub fn capped(pipeline: &Pipeline, run: u64, references: usize) -> Self {
        let mut checkpoint = Self::at(pipeline.model(), pipeline.rules(), run, references);
        checkpoint.head.reached_ns = pipeline.reached_ns();
        checkpoint.head.tally = Some(pipeline.tally().clone());
        checkpoint
    }

    /// What is true by a model, and by the rules that have judged it.
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

    /// Lets a pipeline go on from here.
    pub fn restore(&self, pipeline: &mut Pipeline) {
        pipeline.resume(&Resumption {
            elements: self.elements(),
            rules: &self.head.rules,
            time_ns: self.head.time_ns,
            reached_ns: self.head.reached_ns,
            tally: self.head.tally.as_ref(),
        });
    }

    /// Its records as elements, as the model takes them in.
    pub(crate) fn elements(&self) -> Vec<Element> {
        let mut assembler = Assembler::new();
        let mut elements = Vec::with_capacity(self.records.len());
        for &record in &self.records {
            assembler.push(&Item::Record(record), |element| elements.push(element.clone()));
        }
        assembler.finish(|element| elements.push(element.clone()));
        elements
    }

    /// What its blocks hold, when the run has come to `counts`.
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
