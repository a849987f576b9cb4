//! `stalled-unbind`: an unbind or removal has begun and does not end, wherever it hangs: in the driver's `remove`, in the
//! revocation of mappings, in the drain. The device's lock is held for the entire time.

use std::collections::HashMap;

use p2p_trace_common::{Hook, Kind};

use super::{
    context::{Rule, RuleContext, blank},
    finding::{Finding, MAX_EVIDENCE},
    findings::{Findings, Subject},
    rule::RuleId,
    words,
};
use crate::{
    event::DeviceAddress,
    state::{Bracket, Device, Lock, Model, Step, Teardown},
};

const RULE: RuleId = RuleId::StalledUnbind;
const ADVICE: &str = "The stack shows where the task waits. In memunmap_pages it waits for references: see stalled-drain for their \
                      holders. In the driver's remove it waits for that driver: ask its maintainers. Until it ends, \
                      no other task can bind, unbind, reset or remove the device.";

#[derive(Debug, Default)]
pub(super) struct StalledUnbind {
    /// The start time of the unbind for which a device has a finding.
    open: HashMap<DeviceAddress, u64>,
}

const UNSEEN_END: &str = "an unbind took long, and no attached hook would have seen its end";

/// The start time of an unbind that began before the trace.
const BEFORE: u64 = 0;

impl Rule for StalledUnbind {
    fn pass(&mut self, context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
        let address = device.address();
        let pending = device.unbinding();
        let first = pending.and_then(|teardown| teardown.steps.first());
        let hang = hang(device).filter(|_| first.is_none());
        let began_ns = first.map(|step| step.at.time_ns).or_else(|| hang.map(|_| BEFORE));
        // If the unbind began before the trace, the steps that are seen later belong to it.
        let is_rest =
            |open_ns: u64| open_ns == BEFORE && pending.is_some_and(|teardown| teardown.began_unseen);
        if let Some(&open_ns) = self.open.get(&address)
            && began_ns != Some(open_ns)
            && !is_rest(open_ns)
        {
            self.open.remove(&address);
            end(context, device, subject(address, open_ns), findings);
        }
        let Some(began_ns) = began_ns.filter(|_| !self.open.contains_key(&address)) else {
            return;
        };
        let budget_ns = context.options.stall_after_ns();
        let is_late = |since_ns: u64| context.model.passed(since_ns, context.now_ns).awake_ns >= budget_ns;
        let finding = match (pending, first, hang) {
            // After a loss of steps the unbind may have ended.
            (Some(teardown), Some(first), _)
                if is_late(first.at.time_ns) && !teardown.lost_steps && !teardown.lost_brackets =>
            {
                if !would_end(context, teardown) {
                    findings.mark_uncertain(RULE, address, UNSEEN_END);
                    return;
                }
                begin(context, address, teardown, first)
            }
            (Some(_), Some(first), _) if is_late(first.at.time_ns) => {
                findings.mark_uncertain(
                    RULE,
                    address,
                    "records of a teardown were lost while an unbind seemed not to end",
                );
                return;
            }
            (None, _, Some((lock, since_ns))) if is_late(since_ns) => {
                found(context, address, &lock, since_ns)
            }
            _ => return,
        };
        self.open.insert(address, began_ns);
        findings.begin(subject(address, began_ns), || finding);
    }
}

/// Returns true if the end of the unbind would be seen: a hook is attached for the end of a part whose start was seen. A failed
/// probe, for example, releases resources without an unbind.
fn would_end(context: &RuleContext<'_>, teardown: &Teardown) -> bool {
    let has = |kind: Kind| teardown.step(kind).is_some();
    let sees = |hook: Hook| context.coverage.sees(hook);
    let (unbind, remove, devres) = (teardown.has_unbind(), has(Kind::DriverRemove), has(Kind::DevresRelease));
    let is_any = unbind || remove || devres;
    !is_any
        || (unbind || remove) && sees(Hook::Unbound)
        || (remove || devres) && sees(Hook::DevresReleased) && !has(Kind::DevresReleased)
}

/// A hanging unbind that began before the trace, detected by snapshots: a range is killed, and a task holds the device's lock.
/// Returns the lock, and the time since which the unbind has been waiting at least.
fn hang(device: &Device) -> Option<(Lock, u64)> {
    let draining = device.ranges().find(|range| range.is_draining() && range.steps.killed.is_none())?;
    let lock = device.lock().filter(|lock| lock.holder.is_some())?;
    let (_, found) = draining.snapshot_end?;
    let waiting_ns = lock.waiting_ns.unwrap_or_default();
    Some((lock, found.time_ns.min(lock.at.time_ns.saturating_sub(waiting_ns))))
}

fn found(context: &RuleContext<'_>, device: DeviceAddress, lock: &Lock, since_ns: u64) -> Finding {
    let message = format!(
        "an unbind of {device} that began before the trace has been waiting for at least {}: a range of the device is killed \
         and has not drained, and {} holds the device's lock",
        words::awake(context.model, since_ns, context.now_ns),
        words::task(lock.holder.as_ref()),
    );
    let mut finding = blank(RULE, device, lock.at, message, ADVICE);
    finding.start_ns = since_ns;
    finding
}

const fn subject(device: DeviceAddress, began_ns: u64) -> Subject {
    Subject { rule: RULE, device, case: began_ns, pid: None }
}

fn begin(context: &RuleContext<'_>, device: DeviceAddress, teardown: &Teardown, first: &Step) -> Finding {
    let at_least = if teardown.began_unseen { "at least " } else { "" };
    let last = teardown.last_step().map_or_else(String::new, |last| {
        let ago = words::awake(context.model, last.at.time_ns, context.now_ns);
        format!("; the last step seen is {}, {ago} before", step_text(last))
    });
    let message = format!(
        "the unbind of {device} by {} has not ended {at_least}{} after {} was entered{last}",
        words::task(teardown.task()),
        words::awake(context.model, first.at.time_ns, context.now_ns),
        entered(first),
    );
    let stack = teardown.steps.iter().rev().find(|step| !step.stack.is_empty());
    let steps = teardown.steps.iter().map(|step| Some(step.at));
    blank(RULE, device, first.at, message, ADVICE)
        .shown_by(steps.take(MAX_EVIDENCE))
        .in_stack(stack.map_or(&[][..], |step| &step.stack))
}

/// The function in which the first step was seen.
const fn entered(step: &Step) -> &'static str {
    match step.kind {
        Kind::Unbind => "device_release_driver_internal",
        Kind::DriverRemove => "pci_device_remove",
        Kind::DevresRelease => "devres_release_all",
        Kind::UnmapMappings => "pci_p2pdma_unmap_mappings",
        Kind::MemremapRelease => "devm_memremap_pages_release",
        Kind::Release => "pci_p2pdma_release",
        _ => "memunmap_pages",
    }
}

/// A step in the kernel's terms.
const fn step_text(step: &Step) -> &'static str {
    match step.kind {
        Kind::Unbind => "the entry of device_release_driver_internal",
        Kind::Unbound => "the return of device_release_driver_internal",
        Kind::DriverRemove => "the call of the driver's remove (pci_device_remove)",
        Kind::DriverRemoved => "the return of the driver's remove (pci_device_remove)",
        Kind::DevresRelease => "the start of devres_release_all",
        Kind::DevresReleased => "the end of devres_release_all",
        Kind::UnmapMappings => "the revocation of user mappings (pci_p2pdma_unmap_mappings)",
        Kind::MemremapRelease => "devm_memremap_pages_release",
        Kind::Kill => "the kill in memunmap_pages, which waits for the range's last reference",
        Kind::Drained => "the drop of the range's last reference",
        Kind::Remove => "arch_remove_memory",
        Kind::Unmapped => "the return of memunmap_pages",
        Kind::Release => "the entry of pci_p2pdma_release",
        _ => "the return of pci_p2pdma_release",
    }
}

/// The step after which the unbind took longest.
fn slowest(model: &Model, teardown: &Teardown) -> String {
    let gap = |pair: &[Step]| model.passed(pair[0].at.time_ns, pair[1].at.time_ns).awake_ns;
    let longest = teardown.steps.windows(2).max_by_key(|pair| gap(pair));
    longest.map_or_else(String::new, |pair| {
        let waited = words::awake(model, pair[0].at.time_ns, pair[1].at.time_ns);
        format!(", {waited} of it after {}", step_text(&pair[0]))
    })
}

fn end(context: &RuleContext<'_>, device: &Device, subject: Subject, findings: &mut Findings) {
    let began_before = subject.case == BEFORE;
    let is_it = |teardown: &&Teardown| match teardown.started() {
        _ if began_before => teardown.began_unseen,
        started => started.map(|at| at.time_ns) == Some(subject.case),
    };
    let teardown = device.teardowns().rev().find(is_it);
    // An unbind that touched no p2p memory is not kept: then the latest element ended it.
    let ended = teardown.and_then(|teardown| match (teardown.bracket, teardown.ended) {
        (Bracket::Closed(at), _) | (Bracket::None, Some((_, at))) => Some(at),
        // The end was noticed only now.
        _ => None,
    });
    let ended = ended.or_else(|| context.at());
    let end_ns = ended.map_or(context.now_ns, |at| at.time_ns);
    let (by, slowest) = teardown.map_or_else(Default::default, |teardown| {
        let by = format!(" by {}", words::task(teardown.task()));
        (by, slowest(context.model, teardown))
    });
    findings.amend(subject, |finding| {
        let duration = words::awake(context.model, finding.start_ns, end_ns);
        let device = subject.device;
        finding.message = if began_before {
            format!("an unbind of {device}{by} that began before the trace took at least {duration}")
        } else {
            format!("the unbind of {device}{by} took {duration}{slowest}")
        };
    });
    findings.end(subject, ended.map(|at| at.id), end_ns);
}
