//! `pool-destroyed-in-use`: `pci_p2pdma_release` destroys the pool, and `gen_pool_destroy` is a `BUG` if memory is outstanding.

use std::collections::{HashMap, HashSet};

use p2p_trace_common::{Hook, Kind};

use super::{
    absence::Absence,
    context::{BYPASSED, Rule, RuleContext, blank},
    finding::Finding,
    findings::{Findings, Subject},
    removed_before_drained::NOTHING_ALLOCATED,
    rule::RuleId,
    words,
};
use crate::{
    event::{DeviceAddress, Event, Task},
    holders::Holders,
    state::{At, Baseline, Device, Range, Teardown},
    units,
};

const RULE: RuleId = RuleId::PoolDestroyedInUse;
const ADVICE: &str = "The range drained although memory was outstanding: look for a reference that was dropped twice, as by a partial \
                      free, or a put without a get. The holders must not free this memory any more.";

/// Hooks on frees.
const FREES: &[Hook] = &[Hook::Free, Hook::SglFree, Hook::PageFree];

#[derive(Debug, Default)]
pub(super) struct PoolDestroyedInUse {
    /// Releases that were entered with outstanding memory and have not returned: each ends in a `BUG` unless the memory is
    /// freed first.
    entered: HashMap<DeviceAddress, Subject>,
    /// Those that were entered while a removed range had not drained. On a kernel that waits for the drain here (before 5.2),
    /// the memory may still be freed.
    waiting: HashSet<DeviceAddress>,
}

/// The entry of a release.
#[derive(Clone, Debug)]
struct Release {
    at: At,
    task: Option<Task>,
    stack: Vec<u64>,
    bytes: u64,
    held: Holders,
    /// The task of an allocation attempt that has not returned.
    attempted: Option<Task>,
}

impl Rule for PoolDestroyedInUse {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Release, Kind::Released]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let address = device.address();
        if event.kind == Kind::Released {
            // gen_pool_destroy is a BUG if memory is outstanding.
            self.waiting.remove(&address);
            if let Some(subject) = self.entered.remove(&address) {
                findings.withdraw(subject, NOTHING_ALLOCATED, context.now_ns);
            }
            return;
        }
        let Some(at) = context.at().filter(|_| event.kind == Kind::Release) else {
            return;
        };
        let held = Holders::of(device, None);
        let bytes = event.allocated.unwrap_or(held.bytes);
        if bytes == 0 {
            if device.is_bypassed() {
                findings.mark_uncertain(RULE, address, BYPASSED);
            }
            let is_unknown = device.baseline() == Baseline::Unknown || device.uncertain().hot.is_some();
            if event.allocated.is_none() && (is_unknown || held.unsure > 0) && !has_no_range(context, device)
            {
                let why = "the kernel's count of allocated memory was not available, and not all allocations were seen";
                findings.mark_uncertain(RULE, address, why);
            }
            return;
        }
        let subject = Subject { rule: RULE, device: address, case: at.time_ns, pid: None };
        let attempted = device.attempts().next().map(|attempt| attempt.task);
        let release = Release { at, task: event.task, stack: event.stack.clone(), bytes, held, attempted };
        let waits = |range: &Range| range.steps.removed.is_some() && range.steps.drained.is_none();
        self.entered.insert(address, subject);
        if device.ranges().any(|range| waits(range) && range.steps.release == Some(at)) {
            self.waiting.insert(address);
            return;
        }
        // An allocation attempt that is about to fail holds its memory briefly.
        let is_known =
            release.held.bytes > 0 || device.preexisting_bytes() > 0 || release.attempted.is_some();
        let absence = if event.allocated.is_none() {
            let since = release.held.named.iter().map(|holder| holder.since_ns).min();
            Some(Absence::of_one(FREES, since.unwrap_or_default()))
        } else {
            (!is_known).then_some(Absence::of_one(&[Hook::Released], at.time_ns))
        };
        let finding = found(address, release);
        match absence {
            Some(absence) => findings.suspect(subject, finding, absence, at.time_ns),
            None => findings.happened(subject, at.id, at.time_ns, || finding),
        }
    }

    fn open(&self, device: DeviceAddress) -> Option<(RuleId, &'static str)> {
        let is_open = self.waiting.contains(&device);
        is_open
            .then_some((RULE, "pci_p2pdma_release was entered with outstanding memory and had not returned"))
    }
}

/// Returns true if no memory was ever added to the pool: ranges are released before the pool, in the same unbind, and no step of
/// that unbind is missing.
fn has_no_range(context: &RuleContext<'_>, device: &Device) -> bool {
    let is_complete = |teardown: &&Teardown| {
        !teardown.steps_may_be_missing() && !teardown.overflowed && context.coverage.sees(Hook::Kill)
    };
    let teardown = device.pending_teardown().filter(is_complete);
    teardown.is_some_and(|teardown| teardown.steps.iter().all(|step| step.range.is_none()))
}

fn found(device: DeviceAddress, release: Release) -> Finding {
    let Release { at, task, stack, bytes, held, attempted } = release;
    let cause = attempted.map_or_else(String::new, |task| {
        format!(
            "; the cause: {} began an allocation on a range that had ended, which never returned (alloc-on-dead-chunk)",
            words::task(Some(&task))
        )
    });
    let message = format!(
        "pci_p2pdma_release, in {}, destroyed the pool of {device} while {} of it were allocated; {}{cause}",
        words::task(task.as_ref()),
        units::bytes(bytes),
        words::outstanding(&held, at.time_ns),
    );
    let allocated = held.named.iter().map(|holder| Some(At { time_ns: holder.since_ns, id: holder.record }));
    blank(RULE, device, at, message, ADVICE).shown_by(allocated.take(8)).held_by(held).in_stack(&stack)
}
