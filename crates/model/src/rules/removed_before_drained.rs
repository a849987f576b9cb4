//! `removed-before-drained`: the race of 2018, as it happens.
//!
//! `memunmap_pages` kills the range's reference, waits until the last user has dropped it
//! (`dev_pagemap_percpu_release`), and only then lets `arch_remove_memory` take the struct pages away, since Linux 5.2
//! (50f44ee7248a). Who still has a page after a removal without that wait uses freed memory.

use p2p_trace_common::{Hook, Kind};

use super::{
    findings::Findings,
    rule::Rule,
    scene::{Check, Scene, blank, by_range},
    words,
};
use crate::{
    event::{DeviceAddress, Event},
    holders::Holders,
    state::{At, Change, Device, Range, RangeId, Stage, Step},
};

const RULE: Rule = Rule::RemovedBeforeDrained;
const ADVICE: &str = "Whoever touches this memory from now on uses freed struct pages: stop the holders' I/O, arrange for \
                      a crash dump, and report the kernel with this trace. memunmap_pages must wait for the drain before \
                      arch_remove_memory (since Linux 5.2, commit 50f44ee7248a).";

#[derive(Debug, Default)]
pub(super) struct RemovedBeforeDrained {
    /// Removals in the right order of ranges of which memory seems to be out.
    suspects: Vec<Suspect>,
}

/// The range had drained, and not all that was seen being taken of it was seen coming back. A free can have been missed:
/// what the kernel itself counts when it releases the pool decides.
#[derive(Debug)]
struct Suspect {
    device: DeviceAddress,
    range: RangeId,
    step: Step,
    held: Holders,
}

impl Check for RemovedBeforeDrained {
    fn change(&mut self, scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        let Some((device, step, range)) = scene.range_step(change, Kind::Remove) else {
            return;
        };
        let address = device.address();
        let held = Holders::of(device, Some(range.id));
        if range.steps.drained.is_some() {
            let sees = |hook: &Hook| scene.coverage.sees(*hook);
            if held.references > 0 && [Hook::Alloc, Hook::Free, Hook::SglFree].iter().all(sees) {
                self.suspects.push(Suspect { device: address, range: range.id, step: step.clone(), held });
            }
        } else if let Some(why) = unseen(scene, device, range) {
            findings.doubt(RULE, address, why);
        } else {
            let order = "before its last reference was seen to be dropped";
            add(address, step, range, held, order, findings);
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Release]
    }

    fn event(&mut self, _scene: &Scene<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        if event.kind != Kind::Release {
            return;
        }
        let address = device.address();
        let (of_device, others) = std::mem::take(&mut self.suspects)
            .into_iter()
            .partition::<Vec<_>, _>(|suspect| suspect.device == address);
        self.suspects = others;
        if event.taken == Some(0) {
            return;
        }
        // What is left of memory that was given back in part has no reference any more.
        let left = device
            .references()
            .filter(|(_, reference)| reference.count() == 0 && device.is_sure(reference))
            .map(|(_, reference)| reference.bytes())
            .fold(0, u64::saturating_add);
        let is_known = event.taken.is_some_and(|taken| taken <= left);
        if of_device.is_empty() && event.taken.is_some() && !is_known {
            findings.doubt(
                RULE,
                address,
                "memory was out when the pool was released, of a range that is not known",
            );
        }
        for suspect in of_device {
            if let Some(range) = device.range(suspect.range) {
                let order = "after its reference count had reached zero all the same";
                add(address, &suspect.step, range, suspect.held, order, findings);
            }
        }
    }

    fn open(&self, device: DeviceAddress) -> Option<(Rule, &'static str)> {
        let is_open = self.suspects.iter().any(|suspect| suspect.device == device);
        is_open.then_some((
            RULE,
            "memory seems to be out of a removed range, and the release of the pool was not seen",
        ))
    }
}

/// Why the drain can have happened unseen.
fn unseen(scene: &Scene<'_>, device: &Device, range: &Range) -> Option<&'static str> {
    if range.steps.killed.is_none() {
        return Some("the trace began between the kill of a range and its removal");
    }
    let lost = !scene.is_unbroken(range.steps.killed)
        || device.pending_teardown().is_none_or(|teardown| teardown.lost_steps);
    if lost {
        return Some("records of a teardown were lost");
    }
    let drained = range.pulled.is_some_and(|(stage, _)| stage >= Stage::Drained);
    drained.then_some("a pull read found a range drained whose drain was not seen")
}

fn add(
    device: DeviceAddress,
    step: &Step,
    range: &Range,
    held: Holders,
    order: &str,
    findings: &mut Findings,
) {
    findings.happened(by_range(RULE, device, range), step.at.id, step.at.time_ns, || {
        let killed = range.steps.killed.map_or_else(String::new, |killed| {
            let after = words::between(killed.time_ns, step.at.time_ns);
            format!(" {after} after memunmap_pages had killed it,")
        });
        let message = format!(
            "arch_remove_memory, in {}, removed the struct pages of {}{killed} {order}; {}",
            words::task(step.task.as_ref()),
            words::range(range, device),
            words::out(&held, step.at.time_ns),
        );
        let taken = held.named.first().map(|holder| At { time_ns: holder.since_ns, id: holder.record });
        blank(RULE, device, step.at, message, ADVICE)
            .about(range)
            .shown_by([taken, range.steps.killed, range.steps.drained])
            .held_by(held)
            .in_stack(&step.stack)
    });
}
