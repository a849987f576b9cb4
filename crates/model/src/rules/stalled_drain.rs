//! `stalled-drain`: `memunmap_pages` has killed a range's reference and waits for its last user, without end. On a kernel
//! since 5.2 this is what a held reference comes to: the unbind hangs.

use std::collections::HashSet;

use super::{
    context::{Rule, RuleContext, blank, by_range},
    finding::Finding,
    findings::Findings,
    rule::RuleId,
    words,
};
use crate::{
    event::DeviceAddress,
    holders::Holders,
    state::{At, Device, Range, RangeId},
};

const RULE: RuleId = RuleId::StalledDrain;
const ADVICE: &str = "Have the holders give the memory back: end their I/O, unmap, stop the driver or service that took it. \
                      `p2p-trace holders` shows what is still out and what else may pin it. The unbind goes on by itself then.";

#[derive(Debug, Default)]
pub(super) struct StalledDrain {
    open: HashSet<(DeviceAddress, RangeId)>,
}

impl Rule for StalledDrain {
    fn pass(&mut self, context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
        let address = device.address();
        for range in device.ranges() {
            let is_open = self.open.contains(&(address, range.id));
            if !range.is_draining() || range.refused || has_drained(range) {
                if is_open {
                    self.open.remove(&(address, range.id));
                    end(context, device, range, findings);
                }
                continue;
            }
            let since = since(range);
            // After a loss of steps only a pull read can say that it has not drained.
            let is_certain = device.uncertain().rare.is_none();
            let passed = context.model.passed(since.time_ns, context.now_ns);
            let is_late = passed.awake_ns >= context.options.stall_after_ns();
            if !is_open && !is_certain && is_late {
                let why = "records of a teardown were lost while a range seemed not to drain";
                findings.mark_uncertain(RULE, address, why);
            }
            if !is_open && is_certain && is_late {
                self.open.insert((address, range.id));
                findings.begin(by_range(RULE, address, range), || begin(context, device, range, since));
            }
        }
    }
}

/// The kill came before the trace, and the kernel itself counts nothing any more: so did the drain.
fn has_drained(range: &Range) -> bool {
    range.steps.killed.is_none() && range.accounted().is_some_and(|accounted| accounted.residual == 0)
}

/// From when on it is known to be dead.
fn since(range: &Range) -> At {
    let snapshot_end = range.snapshot_end.map(|(_, at)| at);
    range.steps.killed.or(snapshot_end).unwrap_or(range.seen)
}

fn begin(context: &RuleContext<'_>, device: &Device, range: &Range, since: At) -> Finding {
    let held = Holders::of(device, Some(range.id));
    let message = format!(
        "{} has not drained {} after {}; {}",
        words::range(range, device.address()),
        words::awake(context.model, since.time_ns, context.now_ns),
        beginning(range),
        out(device, range, &held, context.now_ns),
    );
    let stack = device
        .pending_teardown()
        .and_then(|teardown| teardown.steps_of(range.id).last())
        .map_or(&[][..], |step| &step.stack);
    let allocated =
        held.named.iter().take(8).map(|holder| Some(At { time_ns: holder.since_ns, id: holder.record }));
    blank(RULE, device.address(), since, message, ADVICE)
        .about(range)
        .shown_by(allocated)
        .held_by(held)
        .in_stack(stack)
}

/// What the wait began with.
const fn beginning(range: &Range) -> &'static str {
    match range.steps.killed {
        Some(_) => "memunmap_pages killed its reference",
        None => "it was first found killed; the kill itself came before the trace",
    }
}

fn out(device: &Device, range: &Range, held: &Holders, now_ns: u64) -> String {
    let mut out = words::out(held, now_ns);
    if held.unsure > 0 {
        let unsure = words::counted(held.unsure, "reference");
        out.push_str("; ");
        out.push_str(&unsure);
        out.push_str(" more can have changed hands while records were lost");
    }
    if let Some(accounted) = range.accounted() {
        let residual = words::counted(accounted.residual, "reference");
        out.push_str("; the kernel itself counts ");
        out.push_str(&residual);
    }
    if device.preexisting_bytes() > 0 {
        out.push_str("; there is memory that was taken before the trace, by nobody knows whom");
    }
    out
}

fn end(context: &RuleContext<'_>, device: &Device, range: &Range, findings: &mut Findings) {
    let subject = by_range(RULE, device.address(), range);
    let drained = range.steps.drained;
    let end_ns = drained.map_or(context.now_ns, |at| at.time_ns);
    findings.amend(subject, |finding| {
        let (whole, how) = (words::awake(context.model, finding.start_ns, end_ns), beginning(range));
        let range = words::range(range, device.address());
        finding.message = match drained {
            Some(_) => format!("{range} drained only {whole} after {how}"),
            None => format!("{range} was gone {whole} after {how}; its drain was not seen"),
        };
    });
    findings.end(subject, drained.map(|at| at.id), end_ns);
}
