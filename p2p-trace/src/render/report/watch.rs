//! An ongoing teardown, as a report describes it.

use std::collections::HashSet;

use p2p_trace_model::{
    event::Id,
    holders::Holders,
    state::{At, Device, Model, Range, RangeId, Teardown},
};
use p2p_trace_probe::kernel::tasks::UnbindStep;

use super::{
    lanes::Lanes,
    story::{MAX_LANES, Out, TeardownStory, Use},
};
use crate::device_report::step_after;

#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) first: At,
    pub(super) lanes: Lanes,
    pub(super) at_kill: Option<Out>,
    pub(super) uses: Vec<Use>,
    /// A finding occurred during it.
    pub(super) is_noted: bool,
    /// Its state at its end, or at the end of the run.
    kept: Option<Kept>,
}

/// The last state of a teardown.
#[derive(Clone, Debug)]
struct Kept {
    teardown: Teardown,
    ranges: Vec<Range>,
    wrong: Vec<(usize, &'static str)>,
}

impl Watch {
    pub(super) fn begin(first: At, device: &Device) -> Self {
        let mut lanes = Lanes::default();
        lanes.begin(device);
        Self { first, lanes, at_kill: None, uses: Vec::new(), is_noted: false, kept: None }
    }

    /// It ended without touching p2p memory.
    pub(super) const fn is_empty(&self) -> bool {
        self.kept.is_none() && self.at_kill.is_none()
    }

    pub(super) fn keep(&mut self, device: &Device, teardown: &Teardown) {
        let mut ids: Vec<RangeId> = teardown.steps.iter().filter_map(|step| step.range).collect();
        ids.sort_unstable();
        ids.dedup();
        let ranges = ids.into_iter().filter_map(|id| device.range(id)).cloned().collect();
        let wrong =
            (0..teardown.steps.len()).filter_map(|at| Some((at, device.misplaced(teardown, at)?))).collect();
        self.kept = Some(Kept { teardown: teardown.clone(), ranges, wrong });
    }

    pub(super) fn finish(
        self,
        device: &Device,
        model: &Model,
        evidence: &HashSet<Id>,
    ) -> Option<TeardownStory> {
        let Kept { teardown, ranges, wrong } = self.kept?;
        let is_pending = teardown.ended.is_none();
        let pending = teardown.last_step().filter(|_| is_pending).map(|step| {
            let draining = device.ranges().filter(|range| range.is_draining());
            let killed_ns = draining.filter_map(|range| range.steps.killed).map(|at| at.time_ns).min();
            // Waits for a drain, whatever was observed of other ranges since.
            killed_ns.map_or_else(
                || (step_after(step).to_string(), step.at.time_ns),
                |killed_ns| (UnbindStep::WaitForDrain.to_string(), killed_ns),
            )
        });
        let (lanes, lanes_omitted) = self.lanes.finish(MAX_LANES);
        let uses: Vec<_> = self.uses.into_iter().filter(|used| evidence.contains(&used.at.id)).collect();
        let latest_ns = uses.iter().map(|used| used.at.time_ns).max().unwrap_or(0);
        let step_ns = teardown.last_step().map_or(0, |step| step.at.time_ns);
        Some(TeardownStory {
            until_ns: if is_pending { model.now_ns() } else { latest_ns.max(step_ns) },
            teardown,
            wrong,
            ranges,
            pending,
            at_kill: self.at_kill,
            lanes,
            lanes_omitted,
            uses,
            uses_omitted: 0,
        })
    }
}

/// The outstanding memory of a device.
pub(super) fn out(device: &Device, now_ns: u64) -> Out {
    let held = Holders::of(device, None);
    Out {
        at_ns: now_ns,
        holders: held.named,
        more: held.omitted,
        references: held.references,
        bytes: held.bytes,
        unsure: held.unsure,
        unknown_bytes: device.preexisting_bytes(),
    }
}
