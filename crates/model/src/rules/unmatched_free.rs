//! `unmatched-free`: memory was freed that, by all that was seen, was not allocated. `gen_pool_free_owner` is a `BUG` on memory
//! outside the pool or not set in its bitmap.

use p2p_trace_common::{Hook, Ring};

use super::{
    context::{Frees, Rule, RuleContext, blank},
    findings::{Findings, Subject},
    frees::{Free, UNSEEN_ALLOCATION, unknown},
    rule::RuleId,
    words,
};
use crate::state::{Change, ChangeKind, FreeMatch, Range};

const RULE: RuleId = RuleId::UnmatchedFree;
const ADVICE: &str = "Check the address that this task passed to the free: another device's memory, an address that was modified, or \
                      a pointer that was never set. The stack shows the caller (see --stacks).";

#[derive(Debug, Default)]
pub(super) struct UnmatchedFree;

impl Rule for UnmatchedFree {
    fn frees(&self) -> Frees {
        Frees::Unusual
    }

    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        match change.kind {
            ChangeKind::Freed(FreeMatch::Unmatched) => free(context, change, findings),
            ChangeKind::PagesFreed(pages) if pages.unmatched > 0 => {
                self::pages(context, change, pages.unmatched, pages.unplaced, findings);
            }
            _ => {}
        }
    }
}

fn free(context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
    let Some(free) = Free::of(context, change) else {
        return;
    };
    // A snapshot settles a loss only if no free was in flight.
    let lost =
        (context.coverage.lost(Ring::Hot).count > 0).then_some("records of allocations or frees were lost");
    if let Some(why) = free.unknown(context).or(lost) {
        free.mark_uncertain(RULE, why, findings);
        return;
    }
    let address = change.device;
    let message = format!(
        "{} by {} freed {} of {address}, which was not allocated",
        free.function(),
        words::task(free.event.task.as_ref()),
        free.memory(),
    );
    let finding = blank(RULE, address, free.at, message, ADVICE).in_stack(&free.event.stack);
    findings.suspect(free.subject(RULE), finding, UNSEEN_ALLOCATION, context.now_ns);
}

fn pages(
    context: &RuleContext<'_>,
    change: &Change,
    unmatched: u32,
    unplaced: bool,
    findings: &mut Findings,
) {
    let Some(((device, event), at)) = context.device(change).zip(context.event).zip(context.at()) else {
        return;
    };
    if !context.coverage.sees(Hook::Mmap) {
        return;
    }
    let unplaced = unplaced.then_some("the addresses of freed pages are not known");
    let of = |range: &&Range| Some(range.id.pgmap) == event.pgmap;
    let range = device.ranges().rev().find(of);
    // Page frees are recorded with a delay, so the next snapshot does not settle a loss.
    let lost = (context.coverage.lost(Ring::Hot).count > 0).then_some("records of user mappings were lost");
    if let Some(why) = unknown(context, device, range).or(unplaced).or(lost) {
        findings.mark_uncertain(RULE, change.device, why);
        return;
    }
    let subject = Subject {
        rule: RULE,
        device: change.device,
        case: event.page.unwrap_or_default(),
        pid: event.task.map(|task| task.pid),
    };
    let message = format!(
        "{} freed {} of {} that no user mapping had allocated",
        words::task(event.task.as_ref()),
        words::counted(u64::from(unmatched), "page"),
        change.device,
    );
    let finding = blank(RULE, change.device, at, message, ADVICE).in_stack(&event.stack);
    findings.suspect(subject, finding, UNSEEN_ALLOCATION, context.now_ns);
}
