//! What the report tells, before it is written in any form. It is bounded, however much happened.

use std::ops::RangeInclusive;

use p2p_trace_common::Kind;
use p2p_trace_dump::Origin;
use p2p_trace_model::{
    accounting::{HookTally, Status},
    event::{DeviceAddress, Id, Loss, Task},
    holders::Holder,
    rules::Answer,
    state::{At, ClosedBy, Range, RangeId, Reference, Teardown},
};

use crate::render::check::CheckReport;

/// Teardowns that are told of a device.
pub(super) const MAX_TEARDOWNS: usize = 6;
/// References that are told one by one of a teardown.
pub(super) const MAX_LANES: usize = 16;
/// Losses that are told one by one.
pub(super) const MAX_LOSSES: usize = 16;

/// One run.
#[derive(Clone, Debug)]
pub struct Story {
    /// What the rules came to: the figures of `check --json`.
    pub check: CheckReport,
    /// Where the dump comes from.
    pub origin: Origin,
    /// Kernel addresses were replaced by tokens.
    pub redacted: bool,
    /// What was traced and how, at the end.
    pub status: Status,
    /// The devices of which anything was seen, by address.
    pub devices: Vec<DeviceStory>,
    /// What did not arrive.
    pub losses: Losses,
}

/// What did not arrive.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// The first of them.
    pub first: Vec<Loss>,
    /// Losses beyond those.
    pub more: u64,
    /// Hooks of which something was lost or skipped; none where the end of the run is missing.
    pub hooks: Vec<HookTally>,
    /// The end of the run is there, with what the kernel counted.
    pub is_counted: bool,
    /// Where the accounting does not add up.
    pub contradictions: Vec<String>,
}

/// One device.
#[derive(Clone, Debug)]
pub struct DeviceStory {
    /// Its address.
    pub device: DeviceAddress,
    /// Driver and name, as of the beginning.
    pub names: Option<String>,
    /// The worst that a rule came to.
    pub answer: Answer,
    /// The verdict in a sentence.
    pub sentence: String,
    /// The teardowns that matter most, oldest first.
    pub teardowns: Vec<TeardownStory>,
    /// Teardowns besides.
    pub teardowns_left_out: u64,
    /// What was out at the end of the run.
    pub out: Out,
}

/// What was out at one moment, and who had taken it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// The moment, `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// Who had taken it, the largest first.
    pub holders: Vec<Holder>,
    /// Groups besides.
    pub left_out: u64,
    /// References of all of them.
    pub references: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// References of which it is not sure that they are still those of whoever took them.
    pub unsure: u64,
    /// Bytes that were taken by nobody knows whom.
    pub unknown_bytes: u64,
}

/// One teardown.
#[derive(Clone, Debug)]
pub struct TeardownStory {
    /// Its steps.
    pub teardown: Teardown,
    /// What is wrong with the place of a step, by the number of the step.
    pub wrong: Vec<(usize, &'static str)>,
    /// Its ranges, as far as they came.
    pub ranges: Vec<Range>,
    /// What it does, or did, after the latest step that was seen, and since when; `None`: it has ended.
    pub pending: Option<(String, u64)>,
    /// What was out at its first kill.
    pub at_kill: Option<Out>,
    /// References that were out when it began, or were taken during it: those that outlived the kill first.
    pub lanes: Vec<Lane>,
    /// References besides.
    pub lanes_left_out: u64,
    /// Uses of its ranges after their removal, as far as each is known.
    pub uses: Vec<Use>,
    /// Uses besides.
    pub uses_left_out: u64,
    /// It was followed up to here.
    pub until_ns: u64,
}

/// One reference.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What was taken.
    pub reference: Reference,
    /// The range that it is of.
    pub range: Option<RangeId>,
    /// The task that took it.
    pub task: Option<Task>,
    /// Called from here.
    pub caller: Option<u64>,
    /// Its end.
    pub end: Option<(At, ClosedBy)>,
    /// It was out at the kill of its range, or taken after that.
    pub outlived_kill: bool,
}

/// One use of memory whose struct pages were gone.
#[derive(Clone, Debug)]
pub struct Use {
    /// When, and by which record.
    pub at: At,
    /// What was done.
    pub kind: Kind,
    /// Who did it.
    pub task: Option<Task>,
    /// The range, where it is known.
    pub range: Option<RangeId>,
    /// The record of the reference that was used or given back, where that is known.
    pub of: Option<Id>,
}

impl TeardownStory {
    /// What times are told relative to: the first kill, or else the first step.
    #[must_use]
    pub fn zero_ns(&self) -> u64 {
        let kill = self.teardown.step(Kind::Kill).map(|step| step.at);
        kill.or_else(|| self.teardown.started())
            .map_or(0, |at| at.time_ns)
    }

    /// The order of its steps, as far as they were seen.
    #[must_use]
    pub const fn is_in_order(&self) -> bool {
        self.wrong.is_empty()
    }

    /// When its first step was seen, and when it ended or was last heard of.
    #[must_use]
    pub fn span(&self) -> RangeInclusive<u64> {
        let start = self.teardown.started().map_or(0, |at| at.time_ns);
        let end = self.teardown.ended.map_or(self.until_ns, |(_, at)| at.time_ns);
        start..=end.max(start)
    }

    /// From the kill of a range to its drain.
    #[must_use]
    pub fn longest_drain(&self) -> Option<u64> {
        let drain = |range: &Range| {
            let (killed, drained) = range.steps.killed.zip(range.steps.drained)?;
            Some(drained.time_ns.saturating_sub(killed.time_ns))
        };
        self.ranges.iter().filter_map(drain).max()
    }
}
