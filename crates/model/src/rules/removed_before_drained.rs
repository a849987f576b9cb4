//! `removed-before-drained`: the race of 2018, detected at the removal.
//!
//! Since Linux 5.2 (50f44ee7248a), `memunmap_pages` kills the range's reference, waits until the last user has dropped it
//! (`dev_pagemap_percpu_release`), and only then lets `arch_remove_memory` remove the struct pages. Without that wait, users
//! that still have a page use freed memory.
//!
//! The kernel's own counts at the removal decide. If they are not known, the finding rests on a drain that was not seen, and is
//! suspected first.

use p2p_trace_common::{Hook, Kind};

use super::{
    absence::Absence,
    context::{BYPASSED, Rule, RuleContext, blank, by_range},
    finding::Finding,
    findings::{Findings, MAX_FINDINGS, Subject},
    rule::RuleId,
    words,
};
use crate::{
    event::{DeviceAddress, Event, Refs},
    holders::Holders,
    state::{At, Change, Device, Limit, Range, RangeId, Stage, Step},
    units,
};

const RULE: RuleId = RuleId::RemovedBeforeDrained;
const ADVICE: &str = "From now on, any use of this memory uses freed struct pages: stop the holders' I/O, arrange for a crash dump, \
                      and report a kernel bug with this trace. memunmap_pages must wait for the drain before \
                      arch_remove_memory (since Linux 5.2, commit 50f44ee7248a).";
/// Hooks on frees.
const FREES: &[Hook] = &[Hook::Free, Hook::SglFree, Hook::PageFree];

#[derive(Debug, Default)]
pub(super) struct RemovedBeforeDrained {
    /// Removals in the right order, of ranges with memory that seems outstanding.
    suspects: Vec<Suspect>,
    /// Removals without a drain before them, until the drain is seen after them.
    undrained: Vec<(Subject, Finding)>,
    /// Violations found among the suspects, until the release returns.
    found: Vec<Subject>,
}

/// A range that had drained although not all of its memory was seen being freed. A free may have been missed, so the kernel's
/// own count at the release of the pool decides.
#[derive(Debug)]
struct Suspect {
    device: DeviceAddress,
    range: RangeId,
    step: Step,
    held: Holders,
}

/// The kernel's own counts of a range at its removal.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// References: an exact count, or the remaining count of a `percpu_ref` after its exit.
    references: Option<u64>,
    /// The killed reference was still being switched to a single counter, which happens before every drain.
    is_switching: bool,
    /// Allocated bytes.
    bytes: Option<u64>,
}

impl Counted {
    fn of(event: Option<&Event>) -> Self {
        let state = event.and_then(|event| event.state);
        // A reference that exited after its drain has a count of zero, too.
        let is_left = |refs: &Refs| refs.count > 0 && state.is_some_and(|state| state.exited);
        let refs = event.and_then(|event| event.refs).filter(|refs| !refs.estimate || is_left(refs));
        let references = refs.and_then(|refs| u64::try_from(refs.count).ok());
        let is_switching = state.is_some_and(|state| state.dead && !state.atomic && !state.exited);
        Self { references, is_switching, bytes: event.and_then(|event| event.allocated) }
    }

    /// Proof that the range had not drained, independent of missed records.
    fn proof(self) -> Option<String> {
        if self.is_switching {
            let counts = self.text();
            let outstanding = if counts.is_empty() { counts } else { format!(", with {counts}") };
            return Some(format!("before the kernel had even begun to wait for its references{outstanding}"));
        }
        matches!(self.references, Some(1..))
            .then(|| format!("while the kernel itself counted {}", self.text()))
    }

    /// The counts, such as `4 references and 16 KiB allocated`.
    fn text(self) -> String {
        let references = self.references.filter(|&count| count > 0);
        let references = references.map(|count| words::counted(count, "reference"));
        let bytes =
            self.bytes.filter(|&bytes| bytes > 0).map(|bytes| format!("{} allocated", units::bytes(bytes)));
        let parts: Vec<_> = references.into_iter().chain(bytes).collect();
        parts.join(" and ")
    }
}

impl Rule for RemovedBeforeDrained {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        if let Some((device, _, range)) =
            context.range_step(change, Kind::Drained).filter(|(_, _, range)| !context.can_be_another(range))
        {
            self.drained_late(by_range(RULE, device.address(), range), findings);
        }
        let Some((device, step, range)) = context.range_step(change, Kind::Remove) else {
            return;
        };
        let address = device.address();
        // Computed only for reported removals: a range may have much outstanding memory.
        let held = || Holders::of(device, Some(range.id));
        let counted = Counted::of(context.event);
        let subject = by_range(RULE, address, range);
        if let Some(order) = counted.proof() {
            findings.happened(subject, step.at.id, step.at.time_ns, || {
                found(address, step, range, held(), &order)
            });
        } else if range.steps.drained.is_some() || counted.references == Some(0) {
            if range.is_bypassed() {
                findings.mark_uncertain(RULE, address, BYPASSED);
            }
            let sees = |hook: &Hook| context.coverage.sees(*hook);
            let seems_outstanding = counted.bytes != Some(0) && device.held(range).references > 0;
            if seems_outstanding && [Hook::Alloc, Hook::Free, Hook::SglFree].iter().all(sees) {
                if self.suspects.len() == MAX_FINDINGS {
                    findings.mark_uncertain(RULE, address, Limit::Findings.why());
                    return;
                }
                let held = held();
                if held.references > 0 {
                    self.suspects.push(Suspect {
                        device: address,
                        range: range.id,
                        step: step.clone(),
                        held,
                    });
                }
            }
        } else if let Some(why) = unseen(context, device, range) {
            findings.mark_uncertain(RULE, address, why);
        } else if matches!(counted.bytes, Some(1..)) {
            let order = format!("before its last reference was seen to be dropped, with {}", counted.text());
            findings.happened(subject, step.at.id, step.at.time_ns, || {
                found(address, step, range, held(), &order)
            });
        } else {
            let absence = Absence::of_one(&[Hook::Drained], killed_ns(range));
            let order = "before its last reference was seen to be dropped";
            let finding = found(address, step, range, held(), order);
            if self.undrained.len() < MAX_FINDINGS {
                self.undrained.push((subject, finding.clone()));
            } else {
                findings.mark_uncertain(RULE, address, Limit::Findings.why());
            }
            findings.suspect(subject, finding, absence, step.at.time_ns);
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Release, Kind::Released]
    }

    fn event(&mut self, _context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let address = device.address();
        match event.kind {
            Kind::Release => self.released(device, event, findings),
            // gen_pool_destroy found no outstanding memory; otherwise it would not have returned.
            Kind::Released => {
                self.undrained.retain(|(subject, _)| subject.device != address);
                for subject in self.found.extract_if(.., |subject| subject.device == address) {
                    findings.withdraw(subject, NOTHING_ALLOCATED, event.time_ns);
                }
            }
            _ => {}
        }
    }

    fn open(&self, device: DeviceAddress) -> Option<(RuleId, &'static str)> {
        let is_open = self.suspects.iter().any(|suspect| suspect.device == device);
        is_open.then_some((
            RULE,
            "memory of a removed range seems to be outstanding, and the release of the pool was not seen",
        ))
    }
}

/// Why a finding is withdrawn when `pci_p2pdma_release` returns.
pub(super) const NOTHING_ALLOCATED: &str =
    "pci_p2pdma_release returned, so no memory of the pool was outstanding: a free was missed";

impl RemovedBeforeDrained {
    /// Confirms a violation by a drain after the removal, which proves it independent of missed records.
    fn drained_late(&mut self, subject: Subject, findings: &mut Findings) {
        for (subject, finding) in self.undrained.extract_if(.., |(of, _)| *of == subject) {
            findings.confirm(subject, finding);
        }
    }

    /// Handles the entry of `pci_p2pdma_release`, which knows the allocated bytes.
    fn released(&mut self, device: &Device, event: &Event, findings: &mut Findings) {
        let address = device.address();
        let of_device: Vec<_> = self.suspects.extract_if(.., |suspect| suspect.device == address).collect();
        if event.allocated == Some(0) {
            return;
        }
        // The remainder of memory that was partially freed has no reference any more.
        let left = device
            .references()
            .filter(|(_, reference)| reference.count() == 0 && device.is_sure(reference))
            .map(|(_, reference)| reference.bytes())
            .fold(0, u64::saturating_add);
        let is_known = event.allocated.is_some_and(|allocated| allocated <= left);
        if of_device.is_empty() && event.allocated.is_some() && !is_known {
            let why = "memory of an unknown range was outstanding when the pool was released";
            findings.mark_uncertain(RULE, address, why);
        }
        for suspect in of_device {
            if let Some(range) = device.range(suspect.range) {
                let order = "after its reference count had reached zero nevertheless";
                let since_ns =
                    suspect.held.named.iter().map(|holder| holder.since_ns).min().unwrap_or_default();
                let finding = found(address, &suspect.step, range, suspect.held, order);
                let subject = by_range(RULE, address, range);
                self.found.push(subject);
                if event.allocated.is_some() {
                    let step = &suspect.step;
                    findings.happened(subject, step.at.id, step.at.time_ns, || finding);
                } else {
                    findings.suspect(subject, finding, Absence::of_one(FREES, since_ns), event.time_ns);
                }
            }
        }
    }
}

fn killed_ns(range: &Range) -> u64 {
    range.steps.killed.map_or(0, |killed| killed.time_ns)
}

/// Why the drain may have happened unseen.
fn unseen(context: &RuleContext<'_>, device: &Device, range: &Range) -> Option<&'static str> {
    if range.steps.killed.is_none() {
        return Some("the trace began between the kill of a range and its removal");
    }
    let lost = !context.is_unbroken(range.steps.killed)
        || device.pending_teardown().is_none_or(|teardown| teardown.lost_steps);
    if lost {
        return Some("records of a teardown were lost");
    }
    let drained = range.snapshot_end.is_some_and(|(stage, _)| stage >= Stage::Drained);
    drained.then_some("a snapshot found a range drained whose drain was not seen")
}

fn found(device: DeviceAddress, step: &Step, range: &Range, held: Holders, order: &str) -> Finding {
    let killed = range.steps.killed.map_or_else(String::new, |killed| {
        let after = words::between(killed.time_ns, step.at.time_ns);
        format!(" {after} after memunmap_pages had killed it,")
    });
    let message = format!(
        "arch_remove_memory, in {}, removed the struct pages of {}{killed} {order}; {}",
        words::task(step.task.as_ref()),
        words::range(range, device),
        words::outstanding(&held, step.at.time_ns),
    );
    let allocated = held.named.first().map(|holder| At { time_ns: holder.since_ns, id: holder.record });
    blank(RULE, device, step.at, message, ADVICE)
        .about(range)
        .shown_by([allocated, range.steps.killed, range.steps.drained])
        .held_by(held)
        .in_stack(&step.stack)
}
