//! `unmatched-free`: memory was given back that, by all that was seen, nobody has. `gen_pool_free_owner` is a `BUG` on memory
//! outside the pool or not set in its bitmap.

use p2p_trace_common::{Hook, Ring};

use super::{
    findings::{Findings, Subject},
    frees::{Free, UNSEEN_TAKE, unknown},
    rule::Rule,
    scene::{Check, Frees, Scene, blank},
    words,
};
use crate::state::{Change, FreeMatch, Range, What};

const RULE: Rule = Rule::UnmatchedFree;
const ADVICE: &str = "Look at what this task passed to the free: another device's memory, an address that was changed since, or \
                      a pointer never set. The stack or --stacks tells from where.";

#[derive(Debug, Default)]
pub(super) struct UnmatchedFree;

impl Check for UnmatchedFree {
    fn frees(&self) -> Frees {
        Frees::Unusual
    }

    fn change(&mut self, scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        match change.what {
            What::Freed(FreeMatch::Unmatched) => free(scene, change, findings),
            What::PagesFreed(pages) if pages.unmatched > 0 => {
                self::pages(scene, change, pages.unmatched, pages.unplaced, findings);
            }
            _ => {}
        }
    }
}

fn free(scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
    let Some(free) = Free::of(scene, change) else {
        return;
    };
    // A pull read makes up for a loss only where nothing was on its way.
    let lost =
        (scene.coverage.lost(Ring::Hot).count > 0).then_some("records of allocations or frees were lost");
    if let Some(why) = free.unknown(scene).or(lost) {
        free.doubt(RULE, why, findings);
        return;
    }
    let address = change.device;
    let message = format!(
        "{} by {} gave back {} of {address}, which nobody had taken",
        free.function(),
        words::task(free.event.task.as_ref()),
        free.what(),
    );
    let finding = blank(RULE, address, free.at, message, ADVICE).in_stack(&free.event.stack);
    findings.suspect(free.subject(RULE), finding, UNSEEN_TAKE, scene.now_ns);
}

fn pages(scene: &Scene<'_>, change: &Change, unmatched: u32, unplaced: bool, findings: &mut Findings) {
    let Some(((device, event), at)) = scene.device(change).zip(scene.event).zip(scene.at()) else {
        return;
    };
    if !scene.coverage.sees(Hook::Mmap) {
        return;
    }
    let unplaced = unplaced.then_some("it is not known where the pages lie that were given back");
    let of = |range: &&Range| Some(range.id.pgmap) == event.pgmap;
    let range = device.ranges().rev().find(of);
    // Page frees are told late, so that what a loss left unknown reaches further than the next pull read.
    let lost = (scene.coverage.lost(Ring::Hot).count > 0).then_some("records of user mappings were lost");
    if let Some(why) = unknown(scene, device, range).or(unplaced).or(lost) {
        findings.doubt(RULE, change.device, why);
        return;
    }
    let subject = Subject {
        rule: RULE,
        device: change.device,
        case: event.page.unwrap_or_default(),
        pid: event.task.map(|task| task.pid),
    };
    let message = format!(
        "{} gave back {} of {} that no user mapping had taken",
        words::task(event.task.as_ref()),
        words::counted(u64::from(unmatched), "page"),
        change.device,
    );
    let finding = blank(RULE, change.device, at, message, ADVICE).in_stack(&event.stack);
    findings.suspect(subject, finding, UNSEEN_TAKE, scene.now_ns);
}
