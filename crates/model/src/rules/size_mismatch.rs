//! `size-mismatch`: another amount is given back than was taken. Sizes compare in whole pages, as the pool counts them.

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
const TOO_LARGE: &str = "The free took the memory behind the allocation with it, which may be somebody else's, and is a BUG in \
                         gen_pool_free_owner where it was free. Pass the size that was asked for.";
const PARTIAL: &str = "The rest is lost to the pool until it is given back, too, while the range's reference is dropped by the \
                       first free: it can drain while memory is out, and pci_p2pdma_release then ends in a BUG. Give back \
                       the whole at once.";

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
                let why = "memory was given back of which it was not seen how much had been taken";
                free.mark_uncertain(RULE, why, findings);
                return;
            }
            FreeMatch::Unmatched => {
                // A list is given back as a whole.
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
        let (what, advice) = if is_partial {
            (
                format!("only a part ({}) of the {}", units::bytes(freed), units::bytes(reference.bytes())),
                PARTIAL,
            )
        } else {
            (format!("{} instead of the {}", units::bytes(freed), units::bytes(reference.bytes())), TOO_LARGE)
        };
        let message = format!(
            "{} by {} gave back {what} that {} had taken of {address} {} before",
            free.function(),
            words::task(free.event.task.as_ref()),
            words::task(holder.task.as_ref()),
            words::between(holder.since_ns, free.at.time_ns),
        );
        let mut finding = blank(RULE, address, free.at, message, advice)
            .shown_by([Some(reference.at)])
            .in_stack(&free.event.stack);
        finding.holders.push(holder);
        // That somebody else's allocation was skipped is told later.
        findings.suspect(free.subject(RULE), finding, UNSEEN_ALLOCATION, context.now_ns);
    }
}
