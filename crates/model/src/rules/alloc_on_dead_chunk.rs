//! `alloc-on-dead-chunk`: between the end of a range's `memunmap_pages` and `pci_p2pdma_release`, the device's pool still
//! has the range's chunk, whose `dev_pagemap` devres has freed. Each allocation attempt walks this chunk and reads freed
//! memory, whether or not it succeeds. Every kernel with p2pdma is affected; it requires two ranges, of which the older one
//! is held.

use std::collections::{HashMap, HashSet};

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    context::{Rule, RuleContext, blank},
    findings::{Findings, Subject},
    rule::{RuleId, Severity},
    words,
};
use crate::{
    event::{DeviceAddress, Event},
    state::{At, Change, ChangeKind, Device, Range, Stage},
};

const RULE: RuleId = RuleId::AllocOnDeadChunk;
const ADVICE: &str = "Stop the tasks that allocate memory of this device while it is being unbound, and have the holder of the other \
                      range free it so that the teardown can end. Report a kernel bug: until pci_p2pdma_release, \
                      gen_pool_alloc_owner finds the chunk of a range whose dev_pagemap is freed.";

const MAY_HAVE_BEGUN_BEFORE: &str =
    "an allocation attempt returned after a range had ended, and may have begun before";
/// The text for an attempt that has not returned.
const PENDING: &str = "it has not returned yet";
/// An attempt that returns at all has returned after this time.
const RETURNED_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct AllocOnDeadChunk {
    /// Tasks with an attempt that has returned since the range of this generation ended. Any other attempt of theirs that
    /// returns has begun later.
    returned: HashMap<(DeviceAddress, u32), HashSet<u32>>,
}

/// Tasks that are kept for a range. For any others, only an attempt that returns [`RETURNED_NS`] later is known to have begun late.
const MAX_RETURNED: usize = 1024;

impl Rule for AllocOnDeadChunk {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some(device) = context.device(change) else {
            return;
        };
        let is_open = || device.ranges().any(is_dead);
        let has_opened = context.range_step(change, Kind::Unmapped).is_some();
        let uncertain = match change.kind {
            ChangeKind::Uncertain => device.uncertain().hot.is_some_and(|lost| {
                // A loss may be reported long after the range has ended.
                let over =
                    |range: &Range| range.steps.release.or(range.steps.released).or(range.ended_unseen);
                device
                    .ranges()
                    .any(|range| !range.refused && lost.overlaps(range.steps.unmapped, over(range)))
            }),
            ChangeKind::Step if has_opened => {
                context.coverage.lost(Ring::Hot).until_ns >= context.now_ns && is_open()
            }
            _ => false,
        };
        if uncertain {
            findings.mark_uncertain(
                RULE,
                change.device,
                "records were lost while the pool referred to a range that had ended",
            );
        }
        if matches!(change.kind, ChangeKind::RangeSeen(_) | ChangeKind::TornDown(_)) {
            self.returned.retain(|&(of, generation), _| {
                of != change.device
                    || device.ranges().any(|range| range.id.generation == generation && is_dead(range))
            });
        }
        if matches!(change.kind, ChangeKind::Step)
            && context.event.is_some_and(|event| event.kind == Kind::Release)
        {
            unwatched(context, device, findings);
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Alloc, Kind::Mmap, Kind::AllocAttempt]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let is_it = |range: &&Range| is_dead_before(range, event.time_ns);
        let named = event.pgmap.filter(|_| event.kind == Kind::AllocAttempt);
        let mut dead = device.ranges().filter(is_it);
        let Some(dead) = dead.find(|range| named.is_none_or(|pgmap| range.id.pgmap == pgmap)) else {
            return;
        };
        let Some(at) = context.at() else { return };
        let address = device.address();
        let was_seen_to_begin =
            context.model.changes().iter().any(|change| change.kind == ChangeKind::Returned);
        if event.kind != Kind::AllocAttempt
            && !was_seen_to_begin
            && !self.began_later(device, dead, event, at)
        {
            if !is_watched(context, device, dead) {
                findings.mark_uncertain(RULE, address, MAY_HAVE_BEGUN_BEFORE);
            }
            return;
        }
        if !context.is_unbroken(dead.dead_chunk_since()) {
            findings.mark_uncertain(RULE, address, "records of added or removed ranges were lost");
            return;
        }
        let served_from = served_from(device, event);
        let severity = if served_from.is_some_and(|range| range.stage() == Stage::Live) {
            Severity::High
        } else {
            Severity::Critical
        };
        let subject = subject(device, dead, event.task.map(|task| task.pid));
        if was_seen_to_begin && findings.message(subject).is_some() {
            // The attempt that was reported as pending has returned.
            let result = result(device, event, served_from);
            if findings.message(subject).is_some_and(|message| message.contains(PENDING)) {
                findings.revise(subject, |finding| {
                    finding.message = finding.message.replace(PENDING, &result);
                    finding.severity = severity;
                });
            }
        } else {
            let since = dead.steps.unmapped.or(dead.dangling).map_or(0, |since| since.time_ns);
            findings.happened_unless(context.replaced(since), subject, at.id, at.time_ns, || {
                let gone = match (dead.steps.unmapped, dead.dangling) {
                    (Some(unmapped), _) => {
                        let ago = words::between(unmapped.time_ns, at.time_ns);
                        format!(" memunmap_pages had returned {ago} before,")
                    }
                    (None, Some(found)) => {
                        let ago = words::between(found.time_ns, at.time_ns);
                        format!(" a snapshot had found the chunk of a range that no longer exists {ago} before,")
                    }
                    (None, None) => String::new(),
                };
                let (function, result) = (function(event), result(device, event, served_from));
                let message = format!(
                    "{function} by {} searched the pool of {address} while it still referred to {}, which has ended:{gone} \
                     and pci_p2pdma_release had not run; {result}",
                    words::task(event.task.as_ref()),
                    words::range(dead, address),
                );
                let mut finding = blank(RULE, address, at, message, ADVICE)
                    .about(dead)
                    .shown_by([dead.steps.killed, dead.steps.unmapped.or(dead.dangling)])
                    .in_stack(&event.stack);
                finding.severity = severity;
                finding
            });
            findings.amend(subject, |finding| {
                finding.severity = finding.severity.max(severity);
            });
        }
    }

    /// Any attempt of a task may be its last one, which never returns.
    fn pass(&mut self, context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
        for attempt in device.attempts() {
            let is_late = context.now_ns.saturating_sub(attempt.at.time_ns) >= RETURNED_NS;
            let dead = device.ranges().find(|range| range.id.pgmap == attempt.pgmap && is_dead(range));
            let Some(dead) = dead.filter(|_| is_late) else { continue };
            let subject = subject(device, dead, Some(attempt.task.pid));
            if findings.message(subject).is_none_or(|message| message.contains(PENDING)) {
                continue;
            }
            findings.revise(subject, |finding| {
                let later = words::between(finding.start_ns, attempt.at.time_ns);
                finding.message = format!("{}. Another attempt, {later} later: {PENDING}", finding.message);
                finding.severity = Severity::Critical;
            });
        }
    }
}

impl AllocOnDeadChunk {
    /// Returns true if the attempt that has just returned, whose start was not seen, began after the range had ended: otherwise
    /// it would have taken too long, or its task has returned from another attempt since.
    fn began_later(&mut self, device: &Device, dead: &Range, event: &Event, at: At) -> bool {
        let since_ns = dead.dead_chunk_since().map_or(at.time_ns, |since| since.time_ns);
        let returned = self.returned.entry((device.address(), dead.id.generation)).or_default();
        let is_second = event.task.is_some_and(|task| {
            returned.contains(&task.pid) || returned.len() < MAX_RETURNED && !returned.insert(task.pid)
        });
        is_second || at.time_ns.saturating_sub(since_ns) >= RETURNED_NS
    }
}

/// Returns true if the start of every attempt since the end of the range would have been seen.
fn is_watched(context: &RuleContext<'_>, device: &Device, dead: &Range) -> bool {
    let armed = device.pending_teardown().and_then(|teardown| teardown.armed);
    let is_armed = |at: At| armed.is_some_and(|armed| armed.from_ns <= at.time_ns && armed.to_ns.is_none());
    let sees = [Hook::AllocEnter, Hook::MmapEnter].into_iter().all(|hook| context.coverage.sees(hook));
    sees && dead.watched && dead.steps.unmapped.is_some_and(is_armed)
}

/// All attempts of one task on one range make one finding.
fn subject(device: &Device, dead: &Range, pid: Option<u32>) -> Subject {
    Subject { rule: RULE, device: device.address(), case: u64::from(dead.id.generation), pid }
}

/// Marks the rule uncertain if a pool with outstanding memory is about to be destroyed, and a fatal attempt may have gone unseen.
fn unwatched(context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
    let is_outstanding =
        context.event.and_then(|event| event.allocated).is_some_and(|allocated| allocated > 0);
    if !is_outstanding || !context.coverage.sees(Hook::AllocEnter) {
        return;
    }
    // With a single range, the pool is released right after it.
    let unmapped =
        || device.ranges().filter(|range| is_being_released(range)).filter_map(|range| range.steps.unmapped);
    let first = unmapped().min_by_key(|at| at.time_ns).filter(|_| unmapped().count() > 1);
    let armed = device.pending_teardown().and_then(|teardown| teardown.armed);
    let is_armed = |at: At| armed.is_some_and(|armed| armed.from_ns <= at.time_ns);
    if first.is_some_and(|first| !is_armed(first)) {
        let why = "attempts were not traced yet when a range ended, and memory was outstanding when the pool was destroyed";
        findings.mark_uncertain(RULE, device.address(), why);
    }
}

/// The pool still has the range's chunk, whose `dev_pagemap` is freed.
fn is_dead(range: &Range) -> bool {
    range.dead_chunk_since().is_some()
}

/// The release of the range's pool has begun and has not returned.
const fn is_being_released(range: &Range) -> bool {
    range.steps.release.is_some() && range.steps.released.is_none() && !range.refused
}

fn is_dead_before(range: &Range, time_ns: u64) -> bool {
    range.dead_chunk_since().is_some_and(|since| since.time_ns < time_ns)
}

/// The range that served the allocation.
fn served_from<'a>(device: &'a Device, event: &Event) -> Option<&'a Range> {
    if event.kind == Kind::Alloc {
        return device.range_at(event.addr.filter(|_| !event.failed)?);
    }
    let pgmap = event.pgmap.filter(|_| event.ret == Some(0))?;
    device.ranges().rev().find(|range| range.id.pgmap == pgmap)
}

const fn function(event: &Event) -> &'static str {
    match event.kind {
        Kind::AllocAttempt if event.hook as u8 != Hook::AllocEnter as u8 => "p2pmem_alloc_mmap",
        Kind::Alloc | Kind::AllocAttempt => "pci_alloc_p2pmem",
        _ => "p2pmem_alloc_mmap",
    }
}

fn result(device: &Device, event: &Event, served_from: Option<&Range>) -> String {
    match served_from {
        None if event.kind == Kind::AllocAttempt => PENDING.to_owned(),
        Some(range) => format!("it was served from {}", words::range(range, device.address())),
        None if event.failed || event.ret.is_some_and(|ret| ret != 0) => {
            "it failed, after reading freed memory if that range had free space".to_owned()
        }
        None => "it succeeded, with memory of an unknown range".to_owned(),
    }
}
