//! `stalled-drain`: `memunmap_pages` has killed a range's reference and waits indefinitely for its last user. On kernels since
//! 5.2 this is the effect of a held reference: the unbind hangs.

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
const ADVICE: &str = "Make the holders free the memory: end their I/O, unmap, stop the driver or service that allocated it. \
                      `p2p-trace holders` shows memory that is still outstanding, and other possible pins. The unbind then \
                      continues by itself.";

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
            // After a loss of steps, only a snapshot can show that the range has not drained.
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

/// Returns true if the range drained before the trace: its kill was not seen, and the kernel counts no references any more.
fn has_drained(range: &Range) -> bool {
    range.steps.killed.is_none() && range.accounted().is_some_and(|accounted| accounted.residual == 0)
}

/// The time since which the range is known to be killed.
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
        start(range),
        outstanding(device, range, &held, context.now_ns),
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

/// The event from which the wait is measured.
const fn start(range: &Range) -> &'static str {
    match range.steps.killed {
        Some(_) => "memunmap_pages killed its reference",
        None => "it was first found killed; the kill itself was before the trace",
    }
}

/// Outstanding memory of a range, as text.
fn outstanding(device: &Device, range: &Range, held: &Holders, now_ns: u64) -> String {
    let mut text = words::outstanding(held, now_ns);
    if held.unsure > 0 {
        let unsure = words::counted(held.unsure, "reference");
        text.push_str("; ");
        text.push_str(&unsure);
        text.push_str(" more may have changed holders while records were lost");
    }
    if let Some(accounted) = range.accounted() {
        let residual = words::counted(accounted.residual, "reference");
        text.push_str("; the kernel itself counts ");
        text.push_str(&residual);
    }
    if device.preexisting_bytes() > 0 {
        text.push_str("; some memory was allocated before the trace, holder unknown");
    }
    text
}

fn end(context: &RuleContext<'_>, device: &Device, range: &Range, findings: &mut Findings) {
    let subject = by_range(RULE, device.address(), range);
    let drained = range.steps.drained;
    let end_ns = drained.map_or(context.now_ns, |at| at.time_ns);
    findings.amend(subject, |finding| {
        let (duration, start) = (words::awake(context.model, finding.start_ns, end_ns), start(range));
        let range = words::range(range, device.address());
        finding.message = match drained {
            Some(_) => format!("{range} took {duration} to drain after {start}"),
            None => format!("{range} had ended {duration} after {start}; its drain was not seen"),
        };
    });
    findings.end(subject, drained.map(|at| at.id), end_ns);
}
