//! The contents of a report, independent of its format. Their size is bounded.

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

/// Maximum of teardowns per device.
pub(super) const MAX_TEARDOWNS: usize = 6;
/// Maximum of individual references per teardown.
pub(super) const MAX_LANES: usize = 16;
/// Maximum of individual losses.
pub(super) const MAX_LOSSES: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// The results of the rules: the numbers of `check --json`.
    pub(crate) check: CheckReport,
    /// Origin of the dump.
    pub(crate) origin: Origin,
    /// Kernel addresses were replaced by tokens.
    pub(crate) redacted: bool,
    /// The status at the end.
    pub(crate) status: Status,
    /// The devices that were observed, by address.
    pub(crate) devices: Vec<DeviceStory>,
    /// Losses.
    pub(crate) losses: Losses,
}

/// Losses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    /// The first of them.
    pub(crate) first: Vec<Loss>,
    /// Losses that are not listed.
    pub(crate) more: u64,
    /// Hooks with lost or skipped runs; empty if the end of the run is missing.
    pub(crate) hooks: Vec<HookTally>,
    /// The end of the run is present, with the kernel's counts.
    pub(crate) is_counted: bool,
    /// Contradictions in the accounting.
    pub(crate) contradictions: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct DeviceStory {
    pub(crate) device: DeviceAddress,
    /// Driver and name at the beginning.
    pub(crate) names: Option<String>,
    /// The worst answer of its rules.
    pub(crate) answer: Answer,
    /// The verdict in a sentence.
    pub(crate) sentence: String,
    /// The most relevant teardowns, oldest first.
    pub(crate) teardowns: Vec<TeardownStory>,
    /// Teardowns that are not listed.
    pub(crate) teardowns_omitted: u64,
    /// Outstanding memory at the end of the run.
    pub(crate) out: Out,
}

/// Outstanding memory at one moment, and its holders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Out {
    /// The moment, `CLOCK_BOOTTIME`.
    pub(crate) at_ns: u64,
    /// The holders, the largest first.
    pub(crate) holders: Vec<Holder>,
    /// Holders that are not listed.
    pub(crate) more: u64,
    /// References of all holders.
    pub(crate) references: u64,
    /// Bytes of all holders.
    pub(crate) bytes: u64,
    /// References whose holder is uncertain.
    pub(crate) unsure: u64,
    /// Bytes whose holder is unknown.
    pub(crate) unknown_bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TeardownStory {
    pub(crate) teardown: Teardown,
    /// Problems with the order of steps, by the number of the step.
    pub(crate) wrong: Vec<(usize, &'static str)>,
    /// Its ranges, up to the limit.
    pub(crate) ranges: Vec<Range>,
    /// The current step and its start; `None`: the teardown has ended.
    pub(crate) pending: Option<(String, u64)>,
    /// Outstanding memory at its first kill.
    pub(crate) at_kill: Option<Out>,
    /// References outstanding at its beginning or allocated during it: those that outlived the kill come first.
    pub(crate) lanes: Vec<Lane>,
    /// References that are not listed.
    pub(crate) lanes_omitted: u64,
    /// Uses of its ranges after their removal.
    pub(crate) uses: Vec<Use>,
    /// Uses that are not listed.
    pub(crate) uses_omitted: u64,
    /// It was followed up to this time.
    pub(crate) until_ns: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) reference: Reference,
    /// Its range.
    pub(crate) range: Option<RangeId>,
    /// The task that allocated it.
    pub(crate) task: Option<Task>,
    pub(crate) end: Option<(At, ClosedBy)>,
    /// It was outstanding at the kill of its range, or allocated after it.
    pub(crate) outlived_kill: bool,
}

/// A use of memory whose struct pages were removed.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// Time and record.
    pub(crate) at: At,
    pub(crate) kind: Kind,
    pub(crate) task: Option<Task>,
    /// The range, if known.
    pub(crate) range: Option<RangeId>,
    /// The record of the reference that was used or freed, if known.
    pub(crate) of: Option<Id>,
}

impl TeardownStory {
    /// The reference point of times: the first kill, otherwise the first step.
    pub(crate) fn zero_ns(&self) -> u64 {
        let kill = self.teardown.step(Kind::Kill).map(|step| step.at);
        kill.or_else(|| self.teardown.started()).map_or(0, |at| at.time_ns)
    }

    /// The order of the observed steps.
    pub(crate) const fn is_in_order(&self) -> bool {
        self.wrong.is_empty()
    }

    /// From its first observed step to its end, or to its last observation.
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
