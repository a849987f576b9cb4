//! `double-kill`: `percpu_ref_kill` of a reference that is dead takes one count too many, so that the range drains while
//! somebody still has it. The kernel warns of it (`percpu_ref_kill_and_confirm`).

use super::{
    findings::Findings,
    rule::Rule,
    scene::{Check, Scene, UNSEEN_MAKING, blank, by_range},
    words,
};
use crate::state::{Change, What};

const RULE: Rule = Rule::DoubleKill;
const ADVICE: &str = "Each range is torn down once, by devres. Look for a driver that calls devm_memunmap_pages or \
                      memunmap_pages itself; the stack says who did.";

#[derive(Debug, Default)]
pub(super) struct DoubleKill;

impl Check for DoubleKill {
    fn change(&mut self, scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        let What::KilledAgain(id) = change.what else {
            return;
        };
        let Some((device, event, at)) = scene
            .device(change)
            .zip(scene.event)
            .zip(scene.at())
            .map(|((device, event), at)| (device, event, at))
        else {
            return;
        };
        let Some(range) = device.range(id) else { return };
        if !scene.is_unbroken(range.steps.killed) {
            // It can be another range in the same place.
            findings.doubt(RULE, device.address(), "records of a teardown were lost");
            return;
        }
        let address = device.address();
        if scene.can_be_another(range) {
            findings.doubt(RULE, address, UNSEEN_MAKING);
            return;
        }
        let absence = scene.replaced(range.steps.killed.map_or(0, |killed| killed.time_ns));
        findings.happened_unless(absence, by_range(RULE, address, range), at.id, at.time_ns, || {
            let before = range.steps.killed.map_or_else(String::new, |killed| {
                format!(", {} after it was killed first", words::between(killed.time_ns, at.time_ns))
            });
            let message = format!(
                "memunmap_pages, in {}, killed the reference of {} again{before}",
                words::task(event.task.as_ref()),
                words::range(range, address),
            );
            blank(RULE, address, at, message, ADVICE)
                .about(range)
                .shown_by([range.steps.killed])
                .in_stack(&event.stack)
        });
    }
}
