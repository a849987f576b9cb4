//! The line of a finding.

use p2p_trace_model::{
    event::names::{Bdf, RecordId},
    holders::Holder,
    names::Hex,
    rules::{
        Answer, Finding, RuleId, Severity,
        names::{self, AnswerName, SeverityName},
    },
    state::HolderKind,
    text::Text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::event::FrameLine;
use crate::render::Context;

/// A violation of a rule. A later line with the same number is a newer version of the same finding: it has ended, has
/// happened again, or is withdrawn.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingLine {
    /// Number in the run, from 1.
    pub number: u32,
    /// The rule that is violated.
    #[serde(with = "names::rule")]
    #[schemars(with = "String")]
    pub rule: RuleId,
    /// `violated`, even after it has ended; `inconclusive` if it is withdrawn.
    #[serde(with = "names::answer")]
    #[schemars(with = "AnswerName")]
    pub verdict: Answer,
    /// Its severity.
    #[serde(with = "names::severity")]
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// The device that provides the memory.
    pub device: Bdf,
    /// Address of the `struct dev_pagemap` of the affected range.
    pub pgmap: Option<Hex>,
    /// First physical address of that range.
    pub range_start: Option<Hex>,
    /// Last physical address of that range.
    pub range_end: Option<Hex>,
    /// Start of the violation, RFC 3339 in UTC.
    pub start: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// End or last occurrence, RFC 3339 in UTC; absent while it is ongoing.
    pub end: Option<String>,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub end_ns: Option<u64>,
    /// Its state.
    pub state: FindingState,
    /// Number of occurrences.
    pub occurrences: u64,
    /// The violation in a sentence.
    pub message: String,
    /// Advice on the next step.
    pub advice: String,
    /// Why it is withdrawn: the later fact that explains the observation.
    pub withdrawn: Option<String>,
    /// The records that prove it, in order.
    pub evidence: Vec<RecordId>,
    /// Holders of outstanding memory, the largest first. Who used the memory is not observed.
    pub holders: Vec<HolderLine>,
    /// Holders that are not listed.
    pub holders_omitted: u64,
    /// Kernel stack of the task that caused it, or that waits; innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<FrameLine>,
}

/// State of a finding. More values can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// It rests on the absence of a record that may have been lost. Reserved: such findings are not reported until that is
    /// settled, so this version never writes it.
    Suspected,
    /// It continues.
    Ongoing,
    /// It has ended: see `end`. The rule stays violated.
    Closed,
    /// A later fact refutes it: see `withdrawn`.
    Withdrawn,
}

impl FindingState {
    const fn of(finding: &Finding) -> Self {
        if finding.withdrawn.is_some() {
            Self::Withdrawn
        } else if finding.is_closed() {
            Self::Closed
        } else {
            Self::Ongoing
        }
    }
}

/// Outstanding memory of one kind that one task allocated from one caller.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolderLine {
    /// How the memory was allocated. More values can follow.
    pub kind: HolderKind,
    /// Thread that allocated it, in the initial pid namespace.
    pub pid: Option<u32>,
    /// Its process, in the initial pid namespace.
    pub tgid: Option<u32>,
    /// Name of the thread; bytes that cannot be printed are `\xNN`, and a backslash is doubled.
    pub comm: Option<String>,
    /// Id of its cgroup.
    pub cgroup_id: Option<u64>,
    /// The calling function, with offset and module.
    pub caller: Option<Text>,
    /// The caller's address.
    pub caller_addr: Option<Hex>,
    /// Number of references to the range.
    pub references: u64,
    /// Bytes.
    pub bytes: u64,
    /// When the oldest was allocated, `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: u64,
    /// False if the process is known to have exited; true if not. Absent if the task is unknown.
    pub alive: Option<bool>,
    /// The record of the oldest allocation.
    pub record: RecordId,
}

impl FindingLine {
    /// The line for a finding.
    pub(crate) fn new(finding: &Finding, context: &Context<'_>) -> Self {
        let holders = finding.holders.iter();
        let frames = context.frames(&finding.stack).into_iter();
        Self {
            number: finding.number,
            rule: finding.rule,
            verdict: if finding.withdrawn.is_some() { Answer::Inconclusive } else { Answer::Violated },
            severity: finding.severity,
            device: Bdf(finding.device),
            pgmap: finding.pgmap.map(Hex),
            range_start: finding.range.map(|range| Hex(range.start)),
            range_end: finding.range.map(|range| Hex(range.end)),
            start: context.clock.rfc3339(finding.start_ns),
            start_ns: finding.start_ns,
            end: finding.end_ns.map(|end_ns| context.clock.rfc3339(end_ns)),
            end_ns: finding.end_ns,
            state: FindingState::of(finding),
            occurrences: finding.occurrences,
            message: finding.message.clone(),
            advice: finding.advice.to_owned(),
            withdrawn: finding.withdrawn.clone(),
            evidence: finding.evidence.iter().copied().map(RecordId).collect(),
            holders: holders.map(|holder| HolderLine::new(holder, context)).collect(),
            holders_omitted: finding.holders_omitted,
            stack: frames.map(FrameLine::from).collect(),
        }
    }
}

impl HolderLine {
    /// The line for a holder.
    pub(crate) fn new(holder: &Holder, context: &Context<'_>) -> Self {
        let caller = holder.caller.and_then(|addr| context.caller(addr));
        Self {
            kind: holder.kind,
            pid: holder.task.map(|task| task.pid),
            tgid: holder.task.map(|task| task.tgid),
            comm: holder.task.map(|task| task.name()),
            cgroup_id: holder.cgroup,
            caller_addr: caller.as_ref().map(|frame| Hex(frame.addr)),
            caller: caller.and_then(|frame| frame.symbol),
            references: holder.references,
            bytes: holder.bytes,
            since_ns: holder.since_ns,
            alive: holder.task.map(|_| holder.exited_since_ns.is_none()),
            record: RecordId(holder.record),
        }
    }
}
