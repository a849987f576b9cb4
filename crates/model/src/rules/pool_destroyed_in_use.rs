//! `pool-destroyed-in-use`: `pci_p2pdma_release` destroys the pool, and `gen_pool_destroy` is a `BUG` if memory is out.

use std::collections::HashMap;

use p2p_trace_common::Kind;

use super::{
    findings::{Findings, Subject},
    rule::Rule,
    scene::{Check, Scene, blank},
    words,
};
use crate::{
    event::{DeviceAddress, Event, Task},
    holders::Holders,
    state::{At, Baseline, Change, ClosedBy, Device, Range, What},
    units,
};

const RULE: Rule = Rule::PoolDestroyedInUse;
const ADVICE: &str = "The range drained although memory was out: look for a reference that was dropped twice, as by a free of \
                      a part, or a put without a get. Whoever took the memory must not free it any more.";

#[derive(Debug, Default)]
pub(super) struct PoolDestroyedInUse {
    /// Releases that were entered with memory out while a removed range had not drained: on a kernel that waits for that in
    /// here (before 5.2), it can still come back.
    waiting: HashMap<DeviceAddress, Release>,
}

/// How a release was entered.
#[derive(Clone, Debug)]
struct Release {
    at: At,
    task: Option<Task>,
    stack: Vec<u64>,
    bytes: u64,
    held: Holders,
    /// Whoever began to take memory, and never came back.
    lost: Option<Task>,
}

impl Check for PoolDestroyedInUse {
    fn change(&mut self, _scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        // What is out when the release returns is closed by that.
        if let What::Closed(closed) = change.what
            && closed.by == ClosedBy::PoolGone
            && let Some(release) = self.waiting.remove(&change.device)
        {
            add(change.device, release, findings);
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Release, Kind::Released]
    }

    fn event(&mut self, scene: &Scene<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let address = device.address();
        if event.kind == Kind::Released {
            self.waiting.remove(&address);
        }
        let Some(at) = scene.at().filter(|_| event.kind == Kind::Release) else {
            return;
        };
        let held = Holders::of(device, None);
        let bytes = event.taken.unwrap_or(held.bytes);
        if bytes == 0 {
            let is_unknown = device.baseline() == Baseline::Unknown || device.uncertain().hot.is_some();
            if event.taken.is_none() && (is_unknown || held.unsure > 0) {
                let why = "the kernel did not tell what was out, and not everything was seen";
                findings.doubt(RULE, address, why);
            }
            return;
        }
        let lost = device.attempts().next().map(|attempt| attempt.task);
        let release = Release { at, task: event.task, stack: event.stack.clone(), bytes, held, lost };
        let waits = |range: &Range| range.steps.removed.is_some() && range.steps.drained.is_none();
        if device.ranges().any(|range| waits(range) && range.steps.release == Some(at)) {
            self.waiting.insert(address, release);
        } else {
            add(address, release, findings);
        }
    }

    fn open(&self, device: DeviceAddress) -> Option<(Rule, &'static str)> {
        let is_open = self.waiting.contains_key(&device);
        is_open.then_some((RULE, "pci_p2pdma_release was entered with memory out and had not returned"))
    }
}

fn add(device: DeviceAddress, release: Release, findings: &mut Findings) {
    let Release { at, task, stack, bytes, held, lost } = release;
    let subject = Subject { rule: RULE, device, case: at.time_ns, pid: None };
    findings.happened(subject, at.id, at.time_ns, || {
        let cause = lost.map_or_else(String::new, |task| {
            format!(
                "; the cause: {} began to take memory of a range that was gone, and never came back from that \
                 (alloc-on-dead-chunk)",
                words::task(Some(&task))
            )
        });
        let message = format!(
            "pci_p2pdma_release, in {}, destroyed the pool of {device} while {} of it were out; {}{cause}",
            words::task(task.as_ref()),
            units::bytes(bytes),
            words::out(&held, at.time_ns),
        );
        let taken = held.named.iter().map(|holder| Some(At { time_ns: holder.since_ns, id: holder.record }));
        blank(RULE, device, at, message, ADVICE).shown_by(taken.take(8)).held_by(held).in_stack(&stack)
    });
}
