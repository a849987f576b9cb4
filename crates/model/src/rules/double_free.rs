//! `double-free`: memory that has been freed is freed again. Unless it has been allocated since, `gen_pool_free_owner` is a
//! `BUG`.

use super::{
    context::{Frees, Rule, RuleContext, blank},
    findings::Findings,
    frees::{Free, UNSEEN_ALLOCATION},
    rule::RuleId,
    words,
};
use crate::{
    holders::Holder,
    state::{Change, FreeMatch},
};

const RULE: RuleId = RuleId::DoubleFree;
const ADVICE: &str = "One of the two frees is wrong: the evidence lists the records of the allocation and of both frees. The range has \
                      also lost one reference too many, so it may drain while memory is still in use.";

#[derive(Debug, Default)]
pub(super) struct DoubleFree;

impl Rule for DoubleFree {
    fn frees(&self) -> Frees {
        Frees::Unusual
    }

    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some(free) = Free::of(context, change) else {
            return;
        };
        let earlier = match (free.was, free.unknown(context)) {
            (FreeMatch::Again { earlier }, _) => earlier,
            (FreeMatch::Unmatched, Some(why)) => {
                // Its first free may have been before the trace.
                free.mark_uncertain(RULE, why, findings);
                return;
            }
            _ => return,
        };
        let unseen =
            (!earlier.by.is_seen()).then_some("a free was lost, and another of the same memory was seen");
        let lost = free.device.uncertain().hot.is_some() || !free.device.is_sure(&earlier.reference);
        let lost = lost.then_some("records of allocations or frees were lost");
        if let Some(why) = lost.or(unseen) {
            free.mark_uncertain(RULE, why, findings);
            return;
        }
        let address = change.device;
        let finding = {
            let holder = Holder::of(&earlier.reference, &free.device.allocated_by(&earlier.reference), false);
            let message = format!(
                "{} by {} freed {} of {address}, which had been freed {} before; it had been allocated by {}",
                free.function(),
                words::task(free.event.task.as_ref()),
                free.memory(),
                words::between(earlier.at.time_ns, free.at.time_ns),
                words::task(holder.task.as_ref()),
            );
            let mut finding = blank(RULE, address, free.at, message, ADVICE)
                .shown_by([Some(earlier.reference.at), Some(earlier.at)])
                .in_stack(&free.event.stack);
            finding.holders.push(holder);
            finding
        };
        // An allocation in between may have been missed.
        findings.suspect(free.subject(RULE), finding, UNSEEN_ALLOCATION, context.now_ns);
    }
}
