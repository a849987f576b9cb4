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

#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// What the rules came to: the figures of `check --json`.
    pub(crate) check: CheckReport,
    /// Where the dump comes from.
    pub(crate) origin: Origin,
    /// Kernel addresses were replaced by tokens.
    pub(crate) redacted: bool,
    /// What was traced and how, at the end.
    pub(crate) status: Status,
    /// The devices of which anything was seen, by address.
    pub(crate) devices: Vec<DeviceStory>,
    /// What did not arrive.
    pub(crate) losses: Losses,
}

/// What did not arrive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    /// The first of them.
    pub(crate) first: Vec<Loss>,
    /// Losses beyond those.
    pub(crate) more: u64,
    /// Hooks of which something was lost or skipped; none where the end of the run is missing.
    pub(crate) hooks: Vec<HookTally>,
    /// The end of the run is there, with what the kernel counted.
    pub(crate) is_counted: bool,
    /// Where the accounting does not add up.
    pub(crate) contradictions: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct DeviceStory {
    pub(crate) device: DeviceAddress,
    /// Driver and name, as of the beginning.
    pub(crate) names: Option<String>,
    /// The worst that a rule came to.
    pub(crate) answer: Answer,
    /// The verdict in a sentence.
    pub(crate) sentence: String,
    /// The teardowns that matter most, oldest first.
    pub(crate) teardowns: Vec<TeardownStory>,
    /// Teardowns besides.
    pub(crate) teardowns_omitted: u64,
    /// What was out at the end of the run.
    pub(crate) out: Out,
}

/// What was out at one moment, and who had taken it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Out {
    /// The moment, `CLOCK_BOOTTIME`.
    pub(crate) at_ns: u64,
    /// Who had taken it, the largest first.
    pub(crate) holders: Vec<Holder>,
    /// Groups besides.
    pub(crate) more: u64,
    /// References of all of them.
    pub(crate) references: u64,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// References of which it is not sure that they are still those of whoever took them.
    pub(crate) unsure: u64,
    /// Bytes that were taken by nobody knows whom.
    pub(crate) unknown_bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TeardownStory {
    pub(crate) teardown: Teardown,
    /// What is wrong with the place of a step, by the number of the step.
    pub(crate) wrong: Vec<(usize, &'static str)>,
    /// Its ranges, as far as they came.
    pub(crate) ranges: Vec<Range>,
    /// What it does, or did, after the latest step that was seen, and since when; `None`: it has ended.
    pub(crate) pending: Option<(String, u64)>,
    /// What was out at its first kill.
    pub(crate) at_kill: Option<Out>,
    /// References that were out when it began, or were taken during it: those that outlived the kill first.
    pub(crate) lanes: Vec<Lane>,
    /// References besides.
    pub(crate) lanes_omitted: u64,
    /// Uses of its ranges after their removal, as far as each is known.
    pub(crate) uses: Vec<Use>,
    /// Uses besides.
    pub(crate) uses_omitted: u64,
    /// It was followed up to here.
    pub(crate) until_ns: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) reference: Reference,
    /// The range that it is of.
    pub(crate) range: Option<RangeId>,
    /// The task that took it.
    pub(crate) task: Option<Task>,
    pub(crate) end: Option<(At, ClosedBy)>,
    /// It was out at the kill of its range, or taken after that.
    pub(crate) outlived_kill: bool,
}

/// One use of memory whose struct pages were gone.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// When, and by which record.
    pub(crate) at: At,
    pub(crate) kind: Kind,
    pub(crate) task: Option<Task>,
    /// The range, where it is known.
    pub(crate) range: Option<RangeId>,
    /// The record of the reference that was used or given back, where that is known.
    pub(crate) of: Option<Id>,
}

impl TeardownStory {
    /// What times are told relative to: the first kill, or else the first step.
    pub(crate) fn zero_ns(&self) -> u64 {
        let kill = self.teardown.step(Kind::Kill).map(|step| step.at);
        kill.or_else(|| self.teardown.started()).map_or(0, |at| at.time_ns)
    }

    /// The order of its steps, as far as they were seen.
    pub(crate) const fn is_in_order(&self) -> bool {
        self.wrong.is_empty()
    }

    /// When its first step was seen, and when it ended or was last heard of.
    pub(crate) fn span(&self) -> RangeInclusive<u64> {
        let start = self.teardown.started().map_or(0, |at| at.time_ns);
        let end = self.teardown.ended.map_or(self.until_ns, |(_, at)| at.time_ns);
        start..=end.max(start)
    }

    /// From the kill of a range to its drain.
    pub(crate) fn longest_drain(&self) -> Option<u64> {
        let drain = |range: &Range| {
            let (killed, drained) = range.steps.killed.zip(range.steps.drained)?;
            Some(drained.time_ns.saturating_sub(killed.time_ns))
        };
        self.ranges.iter().filter_map(drain).max()
    }
}
