//! `alloc-on-dead-chunk`: between the end of a range's `memunmap_pages` and `pci_p2pdma_release`, the device's pool still
//! has the range's chunk, whose `dev_pagemap` devres has freed. Each attempt to take memory walks it and reads freed
//! memory, whatever it returns. Every kernel with p2pdma has this; it takes two ranges, of which the older one is held.

use p2p_trace_common::{Kind, Ring};

use super::{
    findings::{Findings, Subject},
    rule::{Rule, Severity},
    scene::{Check, Scene, blank},
    words,
};
use crate::{
    event::Event,
    state::{Change, Device, Range, Stage, What},
};

const RULE: Rule = Rule::AllocOnDeadChunk;
const ADVICE: &str = "Stop whoever takes memory of this device while it is being unbound, and have the holder of the other range \
                      give it back, so that the teardown can end. Report the kernel: gen_pool_alloc_owner finds the chunk of \
                      a range whose dev_pagemap is freed, until pci_p2pdma_release.";

#[derive(Debug, Default)]
pub(super) struct AllocOnDeadChunk;

impl Check for AllocOnDeadChunk {
    fn change(&mut self, scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        let Some(device) = scene.device(change) else {
            return;
        };
        let is_open = || device.ranges().any(is_dead);
        let has_opened = scene.range_step(change, Kind::Unmapped).is_some();
        let in_doubt = match change.what {
            What::Uncertain => device.uncertain().hot.is_some() && is_open(),
            What::Step if has_opened => scene.coverage.lost(Ring::Hot).until_ns >= scene.now_ns && is_open(),
            _ => false,
        };
        if in_doubt {
            findings.doubt(
                RULE,
                change.device,
                "records were lost while the pool pointed to a range that was gone",
            );
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Alloc, Kind::Mmap]
    }

    fn event(&mut self, scene: &Scene<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        if !matches!(event.kind, Kind::Alloc | Kind::Mmap) {
            return;
        }
        let Some(dead) = device.ranges().find(|range| is_dead_before(range, event.time_ns)) else {
            return;
        };
        let Some(at) = scene.at() else { return };
        let address = device.address();
        if !scene.is_unbroken(dead.steps.unmapped) {
            findings.doubt(RULE, address, "records of ranges that came and went were lost");
            return;
        }
        let served_from = served_from(device, event);
        let severity = if served_from.is_some_and(|range| range.stage() == Stage::Live) {
            Severity::High
        } else {
            Severity::Critical
        };
        let subject = Subject {
            rule: RULE,
            device: address,
            case: u64::from(dead.id.generation),
            pid: event.task.map(|task| task.pid),
        };
        findings.happened(subject, at.id, at.time_ns, || {
            let gone = dead.steps.unmapped.map_or_else(String::new, |unmapped| {
                format!(" memunmap_pages had returned {} before,", words::between(unmapped.time_ns, at.time_ns))
            });
            let (function, result) = (function(event), result(device, event, served_from));
            let message = format!(
                "{function} by {} searched the pool of {address} while it still pointed to {}, which is gone:{gone} and \
                 pci_p2pdma_release had not run; {result}",
                words::task(event.task.as_ref()),
                words::range(dead, address),
            );
            let mut finding = blank(RULE, address, at, message, ADVICE)
                .about(dead)
                .shown_by([dead.steps.killed, dead.steps.unmapped])
                .in_stack(&event.stack);
            finding.severity = severity;
            finding
        });
        findings.amend(subject, |finding| {
            finding.severity = finding.severity.max(severity);
        });
    }
}

/// The chunk is in the pool, and what it belongs to is freed.
const fn is_dead(range: &Range) -> bool {
    let over =
        range.steps.release.is_some() || range.steps.released.is_some() || range.ended_unseen.is_some();
    range.steps.unmapped.is_some() && !over && !range.refused
}

fn is_dead_before(range: &Range, time_ns: u64) -> bool {
    is_dead(range) && range.steps.unmapped.is_some_and(|unmapped| unmapped.time_ns < time_ns)
}

/// The range that the memory was given out of.
fn served_from<'a>(device: &'a Device, event: &Event) -> Option<&'a Range> {
    if event.kind == Kind::Alloc {
        return device.range_at(event.addr.filter(|_| !event.failed)?);
    }
    let pgmap = event.pgmap.filter(|_| event.ret == Some(0))?;
    device.ranges().rev().find(|range| range.id.pgmap == pgmap)
}

const fn function(event: &Event) -> &'static str {
    match event.kind {
        Kind::Alloc => "pci_alloc_p2pmem",
        _ => "p2pmem_alloc_mmap",
    }
}

fn result(device: &Device, event: &Event, served_from: Option<&Range>) -> String {
    match served_from {
        Some(range) => format!("it was served from {}", words::range(range, device.address())),
        None if event.failed || event.ret.is_some_and(|ret| ret != 0) => {
            "it failed, having read freed memory if that range had room".to_owned()
        }
        None => "it succeeded, with memory of a range that is not known".to_owned(),
    }
}
