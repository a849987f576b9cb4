//! `use-after-removal`: from `arch_remove_memory` of a range until its addresses are added again, its memory must not be mapped,
//! pinned, used or freed.

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    absence::Absence,
    context::{BYPASSED, Frees, Rule, RuleContext, UNSEEN_CREATION, blank},
    finding::Finding,
    findings::{Findings, Subject},
    rule::RuleId,
    words,
};
use crate::{
    event::{DeviceAddress, Event},
    holders::Holder,
    state::{At, Change, ChangeKind, Device, FreeMatch, Range, RangeId, Reference},
};

const RULE: RuleId = RuleId::UseAfterRemoval;
const ADVICE: &str = "Stop this user; arrange for a crash dump, because the memory may belong to another user by now; report its \
                      driver, with the stack, for using removed p2p memory, and see the findings on the teardown for why \
                      the memory was removed.";

/// The limitation for a range that was removed without outstanding memory.
pub(super) const UNTRACED: &str =
    "DMA mappings of memory that was removed while none was outstanding were not traced";
/// The limitation for other ranges: armed hooks stay attached until the teardown has ended.
pub(super) const UNTRACED_LATER: &str =
    "DMA mappings of removed memory were traced only until the teardown ended";

/// The most removals that wait for the time from which mappings were traced.
const MAX_UNTRACED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct UseAfterRemoval {
    /// Ranges that were removed while their memory may have been in use, before the armed hooks were attached.
    untraced: Vec<(DeviceAddress, RangeId, At)>,
}

impl Rule for UseAfterRemoval {
    fn frees(&self) -> Frees {
        Frees::All
    }

    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        if let Some((device, step, range)) = context.range_step(change, Kind::Remove) {
            self.removed(context, device, range, step.at, findings);
            return;
        }
        let Some(device) = context.device(change) else {
            return;
        };
        match change.kind {
            ChangeKind::Uncertain => {
                let is_open = device.ranges().any(|range| is_removed(range) && !is_replaced(device, range));
                if is_open && device.uncertain().hot.is_some() {
                    findings.mark_uncertain(
                        RULE,
                        change.device,
                        "records were lost while a range was removed",
                    );
                }
            }
            ChangeKind::Freed(freed) => {
                let Some((event, at)) = context.event.zip(context.at()) else {
                    return;
                };
                let of_removed = |of: &Reference| device.range_of(of).is_some_and(is_removed);
                let known = reference_of(&freed);
                let reference = known.filter(|reference| device.is_sure(reference));
                let range = match reference {
                    Some(reference) => device.range_of(reference).filter(|range| is_removed(range)),
                    None if matches!(freed, FreeMatch::OfScatterList(_)) => None,
                    None => event.addr.and_then(|addr| removed_at(device, addr)),
                };
                if range.is_none() && reference.is_none() && known.is_some_and(of_removed) {
                    // The memory may have been freed, and another allocation at its place may belong to another range.
                    findings.mark_uncertain(
                        RULE,
                        change.device,
                        "records were lost between an allocation and its free",
                    );
                }
                if let Some(range) = range {
                    add(context, device, range, event, at, reference, findings);
                }
            }
            _ => {}
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        // Any event with an address may concern a removed range whose address is not known.
        &[
            Kind::Alloc,
            Kind::Free,
            Kind::Memremap,
            Kind::RangeState,
            Kind::VirtToBus,
            Kind::Map,
            Kind::Unmap,
            Kind::Mmap,
            Kind::PageFree,
        ]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let range = match event.kind {
            Kind::Alloc if event.failed => None,
            Kind::Alloc | Kind::VirtToBus => event.addr.and_then(|addr| removed_at(device, addr)),
            Kind::Mmap if event.ret.is_some_and(|ret| ret != 0) => None,
            Kind::Map | Kind::Unmap | Kind::Mmap => removed_of(device, event),
            Kind::PageFree => {
                let last_ns = event.span.map_or(event.time_ns, |span| span.last_ns);
                removed_of(device, event)
                    .filter(|range| range.steps.removed.is_some_and(|removed| last_ns > removed.time_ns))
            }
            _ => None,
        };
        if let Some((range, at)) = range.zip(context.at()) {
            add(context, device, range, event, at, None, findings);
        } else if event.addr.is_some() {
            // The memory may belong to a removed range whose address is not known.
            let is_unplaced = |range: &Range| is_removed(range) && range.base.is_none() && !range.refused;
            if device.ranges().any(is_unplaced) {
                findings.mark_uncertain(
                    RULE,
                    device.address(),
                    "the address of a removed range was not known",
                );
            }
        }
    }

    fn pass(&mut self, _context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
        let address = device.address();
        let armed = device.teardowns().next_back().and_then(|teardown| teardown.armed);
        let Some(armed) = armed.filter(|_| !self.untraced.is_empty()) else {
            return;
        };
        self.untraced.retain(|&(of, id, removed)| {
            if of != address {
                return true;
            }
            let killed = device.range(id).and_then(|range| range.steps.killed);
            let late = killed.filter(|killed| killed.time_ns < armed.from_ns);
            let since_kill = late.map_or_else(String::new, |killed| {
                format!(" {} after the kill,", words::between(killed.time_ns, armed.from_ns))
            });
            let why = format!(
                "DMA mappings were traced only from{since_kill} {} after the removal",
                words::between(removed.time_ns, armed.from_ns)
            );
            findings.mark_uncertain(RULE, address, why);
            false
        });
    }
}

impl UseAfterRemoval {
    fn removed(
        &mut self,
        context: &RuleContext<'_>,
        device: &Device,
        range: &Range,
        at: At,
        findings: &mut Findings,
    ) {
        let address = device.address();
        if context.coverage.lost(Ring::Hot).until_ns >= at.time_ns {
            findings.mark_uncertain(RULE, address, "records were lost while a range was removed");
        }
        for hook in [Hook::MapSg, Hook::UnmapSg].into_iter().filter(|&hook| context.coverage.has_failed(hook))
        {
            findings.mark_uncertain(RULE, address, format!("hook {} could not be attached", hook.name()));
        }
        // After a drain without outstanding memory, no user is left.
        let held = range.steps.drained.is_none() || device.held(range).references > 0;
        if range.is_bypassed() {
            findings.mark_uncertain(RULE, address, BYPASSED);
        }
        let is_suspect = held || range.is_bypassed();
        let is_armed = device
            .pending_teardown()
            .and_then(|teardown| teardown.armed)
            .is_some_and(|armed| armed.from_ns <= at.time_ns && armed.to_ns.is_none());
        if is_suspect && !is_armed {
            findings.mark_uncertain(
                RULE,
                address,
                "DMA mappings were not traced yet when struct pages were removed",
            );
            // Beyond the limit, only the reason above is reported, without the times.
            if self.untraced.len() < MAX_UNTRACED {
                self.untraced.push((address, range.id, at));
            }
        } else if is_suspect && context.event.and_then(|event| event.flag) == Some(false) {
            let range = words::range(range, address);
            let why =
                format!("DMA mappings of {range} were not traced: too many ranges were being torn down");
            findings.mark_uncertain(RULE, address, why);
        }
        findings.remark(RULE, address, if is_armed { UNTRACED_LATER } else { UNTRACED });
    }
}

const fn is_removed(range: &Range) -> bool {
    range.steps.removed.is_some()
}

/// The range's addresses are in use again.
fn is_replaced(device: &Device, range: &Range) -> bool {
    let overlaps = |other: &Range| {
        let both = other.physical.zip(range.physical);
        !is_removed(other) && both.is_some_and(|(a, b)| a.start <= b.end && b.start <= a.end)
    };
    device.ranges().any(overlaps)
}

/// The removed range that this direct-map address was in, unless it is in use again.
fn removed_at(device: &Device, addr: u64) -> Option<&Range> {
    let mut at = device.ranges().rev().filter(|range| range.contains(addr) && !range.refused);
    at.next().filter(|range| is_removed(range))
}

/// The removed range that the event names.
fn removed_of<'a>(device: &'a Device, event: &Event) -> Option<&'a Range> {
    let pgmap = event.pgmap?;
    let mut named = device.ranges().rev().filter(|range| range.id.pgmap == pgmap && !range.refused);
    named.next().filter(|range| is_removed(range))
}

/// The reference of the freed memory, if it is known.
const fn reference_of(freed: &FreeMatch) -> Option<&Reference> {
    match freed {
        FreeMatch::Exact(closed) | FreeMatch::TooLarge { closed, .. } => Some(&closed.reference),
        FreeMatch::Partial { before, .. } => Some(before),
        FreeMatch::OfScatterList(_)
        | FreeMatch::Preexisting { .. }
        | FreeMatch::Again { .. }
        | FreeMatch::Unmatched => None,
    }
}

/// The use, as text between the task and "of" the range.
fn action(event: &Event) -> String {
    let action = match event.kind {
        Kind::Free => "freed memory (pci_free_p2pmem)",
        Kind::SglFree => "freed a scatter list (pci_p2pmem_free_sgl)",
        Kind::PageFree => "freed pages of a user mapping",
        Kind::Alloc => "allocated memory (pci_alloc_p2pmem)",
        Kind::Mmap => "mapped memory into its address space (p2pmem_alloc_mmap)",
        Kind::VirtToBus => "requested the bus address of memory (pci_p2pmem_virt_to_bus)",
        Kind::Unmap => "ended a DMA mapping of memory (pci_p2pdma_unmap_sg_attrs)",
        _ => "mapped memory for DMA",
    };
    let client = event.client.map_or_else(String::new, |client| format!(" by {client}"));
    format!("{action}{client}")
}

fn add(
    context: &RuleContext<'_>,
    device: &Device,
    range: &Range,
    event: &Event,
    at: At,
    reference: Option<&Reference>,
    findings: &mut Findings,
) {
    if !context.is_unbroken(range.steps.removed) {
        return;
    }
    let address = device.address();
    // A rare record of a map means that the kernel side's own table had the range, as removed.
    let is_in_table = event.kind == Kind::Map && event.id.ring() == Ring::Rare;
    if !is_in_table && context.can_be_another(range) {
        findings.mark_uncertain(RULE, address, UNSEEN_CREATION);
        return;
    }
    let subject = Subject {
        rule: RULE,
        device: address,
        case: u64::from(range.id.generation) << 8 | event.kind as u64,
        pid: event.task.map(|task| task.pid),
    };
    let finding = found(device, range, event, at, reference);
    match range.steps.released.filter(|_| !is_in_table) {
        None if is_in_table => findings.happened(subject, at.id, at.time_ns, || finding),
        None => {
            let absence = context.replaced(range.steps.removed.map_or(0, |removed| removed.time_ns));
            findings.happened_unless(absence, subject, at.id, at.time_ns, || finding);
        }
        // The pool was destroyed: later allocations are from a new pool.
        Some(_) if matches!(event.kind, Kind::Alloc | Kind::Mmap) => {
            let why = "memory was allocated at the addresses of a range that had ended: a new range there was not seen";
            findings.mark_uncertain(RULE, address, why);
        }
        Some(released) => {
            let absence = Absence::of_one(&[Hook::Memremap], released.time_ns);
            findings.suspect(subject, finding, absence, at.time_ns);
        }
    }
}

fn found(device: &Device, range: &Range, event: &Event, at: At, reference: Option<&Reference>) -> Finding {
    let address = device.address();
    let after = range.steps.removed.map_or_else(String::new, |removed| {
        format!(" {} after arch_remove_memory", words::between(removed.time_ns, at.time_ns))
    });
    let holder = reference.map(|reference| Holder::of(reference, &device.allocated_by(reference), false));
    let allocated = holder.map_or_else(String::new, |holder| {
        format!(
            "; it had been allocated by {} {} before",
            words::task(holder.task.as_ref()),
            words::between(holder.since_ns, at.time_ns)
        )
    });
    let message = format!(
        "{} {} of {}{after}{allocated}",
        words::task(event.task.as_ref()),
        action(event),
        words::range(range, address),
    );
    let mut finding = blank(RULE, address, at, message, ADVICE)
        .about(range)
        .shown_by([range.steps.killed, range.steps.removed, reference.map(|reference| reference.at)])
        .in_stack(&event.stack);
    finding.holders.extend(holder);
    finding
}
