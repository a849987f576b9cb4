//! `size-mismatch`: the size of a free differs from the size of the allocation. Sizes are compared in whole pages, as the pool
//! counts them.

use p2p_trace_common::Kind;

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
    units,
};

const RULE: RuleId = RuleId::SizeMismatch;
const TOO_LARGE: &str = "The free also returned the memory behind the allocation, which may belong to another user; where that memory was \
                         free already, gen_pool_free_owner is a BUG. Pass the size that was allocated.";
const PARTIAL: &str = "The pool loses the rest until it is freed as well, but the first free drops the range's reference: the range can \
                       drain while memory is outstanding, and pci_p2pdma_release then ends in a BUG. Free the complete \
                       allocation at once.";

#[derive(Debug, Default)]
pub(super) struct SizeMismatch;

impl Rule for SizeMismatch {
    fn frees(&self) -> Frees {
        Frees::Unusual
    }

    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some(free) = Free::of(context, change) else {
            return;
        };
        let (reference, freed, is_partial) = match free.was {
            FreeMatch::Partial { before, freed } => (before, freed, true),
            FreeMatch::TooLarge { closed, freed } => (closed.reference, freed, false),
            FreeMatch::Preexisting { .. } => {
                let why = "memory was freed whose allocated size was not seen";
                free.mark_uncertain(RULE, why, findings);
                return;
            }
            FreeMatch::Unmatched => {
                // A scatter list is freed as a unit.
                if let Some(why) = free.unknown(context).filter(|_| free.event.kind == Kind::Free) {
                    free.mark_uncertain(RULE, why, findings);
                }
                return;
            }
            _ => return,
        };
        if !free.device.is_sure(&reference) {
            free.mark_uncertain(RULE, "records of allocations or frees were lost", findings);
            return;
        }
        let address = change.device;
        let holder = Holder::of(&reference, &free.device.allocated_by(&reference), false);
        let (amount, advice) = if is_partial {
            (
                format!("only a part ({}) of the {}", units::bytes(freed), units::bytes(reference.bytes())),
                PARTIAL,
            )
        } else {
            (format!("{} instead of the {}", units::bytes(freed), units::bytes(reference.bytes())), TOO_LARGE)
        };
        let message = format!(
            "{} by {} freed {amount} that {} had allocated of {address} {} before",
            free.function(),
            words::task(free.event.task.as_ref()),
            words::task(holder.task.as_ref()),
            words::between(holder.since_ns, free.at.time_ns),
        );
        let mut finding = blank(RULE, address, free.at, message, advice)
            .shown_by([Some(reference.at)])
            .in_stack(&free.event.stack);
        finding.holders.push(holder);
        // A skipped allocation is reported later.
        findings.suspect(free.subject(RULE), finding, UNSEEN_ALLOCATION, context.now_ns);
    }
}
