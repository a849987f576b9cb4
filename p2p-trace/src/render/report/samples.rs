//! Stories for tests, from the simulated kernel.

use std::{collections::BTreeMap, time::Duration};

use p2p_trace_common::Hook;
use p2p_trace_dump::Header;
use p2p_trace_model::{
    accounting::{HookState, HookStatus, Outcome, Status, Totals},
    event::{Method, NoSymbols, Symbolize, user},
    pipeline::{Closing, Step},
    rules::{self, Answer, Rules},
    state::Model,
    stream::assemble::Element,
    testing::{
        simulate::{ARMED, Fault, Kernel, Order, play},
        status as samples,
    },
    units::Clock,
};

use super::{Collector, Story, Subject};
use crate::{
    render::{
        Context,
        check::{CheckReport, DumpEnding},
        json::{FindingLine, VerdictLine},
    },
    run::{Ending, Sink as _},
};

/// The kernel's clock starts at 2026-11-22 18:00 UTC.
pub(super) const CLOCK: Clock =
    Clock { boottime_ns: 1_000_000_000_000, realtime_ns: 1_795_370_400_000_000_000, utc_offset_s: 0 };

fn status() -> Status {
    let hook = |&hook: &Hook| HookStatus {
        hook,
        function: Some(hook.name().into()),
        method: Some(Method::Fentry),
        state: if ARMED.contains(&hook) { HookState::Armed } else { HookState::Attached },
        required: false,
        error: None,
        lost_without: "what it sees".into(),
    };
    Status { hooks: Hook::ALL.iter().map(hook).collect(), devices: Vec::new(), ..samples::status() }
}

pub(super) fn header() -> Header {
    Header::new(status(), CLOCK, CLOCK.boottime_ns, rules::Options::default())
}

/// The context for a story.
pub(super) fn context(symbols: &dyn Symbolize) -> Context<'_> {
    Context::new(CLOCK, &status(), symbols)
}

/// The story of a run of these elements.
pub(super) fn story(elements: &[Element]) -> Story {
    story_with(elements, &NoSymbols)
}

/// The story of a run whose addresses have names.
pub(super) fn story_with(elements: &[Element], symbols: &dyn Symbolize) -> Story {
    let header = header();
    let mut model = Model::new();
    let mut rules =
        Rules::new(rules::Options::default(), &header.status.hooks, header.status.accounting.missed);
    let mut collector = Collector::default();
    let mut findings = BTreeMap::new();
    let mut lost = 0;
    let end = elements.last().map_or(header.start_ns, |last| match last {
        Element::Event(event) => event.time_ns,
        Element::User(record) => record.time_ns,
        Element::Loss(loss) => loss.to_ns,
        Element::Unknown(_) => header.start_ns,
    });
    let end = Element::User(user::Writer::new(0).end(end));
    for element in elements.iter().chain([&end]) {
        if let Element::Loss(loss) = element {
            lost += loss.count();
        }
        model.apply(element);
        let findings_now = rules.apply(&model, element);
        let step = Step { element, findings: &findings_now, model: &model };
        collector.step(&step).unwrap();
        findings.extend(findings_now.into_iter().map(|finding| (finding.number, finding)));
    }
    let rest = rules.rest(&model);
    findings.extend(rest.into_iter().map(|finding| (finding.number, finding)));
    let verdicts = rules.verdicts(&model);
    let events = elements.iter().filter(|element| matches!(element, Element::Event(_)));
    let outcome = Outcome {
        hooks: Vec::new(),
        events: events.count() as u64,
        lost,
        skipped: 0,
        shortfalls: Default::default(),
        contradictions: Vec::new(),
    };
    let closing = Closing {
        rest: Vec::new(),
        verdicts,
        omitted: rules.omitted(),
        is_inconclusive: rules.is_inconclusive(),
        ended_ns: model.now_ns(),
        outcome,
    };
    let ending = Ending {
        totals: Totals::default(),
        duration: Duration::from_nanos(model.now_ns() - header.start_ns),
        is_whole: true,
    };
    collector.end(&closing, &ending).unwrap();
    collector.last(model);
    let context = context(symbols);
    let answers: Vec<_> = closing.verdicts.iter().map(|verdict| verdict.answer).collect();
    let worst = [Answer::Violated, Answer::Inconclusive];
    let lines = |is_withdrawn| {
        let of = findings.values().filter(|finding| finding.withdrawn.is_some() == is_withdrawn);
        of.map(|finding| FindingLine::new(finding, &context)).collect()
    };
    let check = CheckReport {
        format: 1,
        files: vec!["trace.p2pt".into()],
        run: format!("{:016x}", header.status.run),
        boot_id: header.status.boot_id.clone(),
        host: Some("host-a".into()),
        kernel: header.status.kernel.clone(),
        version: header.status.version.clone(),
        start: CLOCK.rfc3339(header.start_ns),
        start_ns: header.start_ns,
        duration_ns: ending.duration_ns(),
        ending: DumpEnding::Complete,
        verdict: worst.into_iter().find(|answer| answers.contains(answer)).unwrap_or(Answer::Holds),
        events: closing.outcome.events,
        lost,
        repeats: Vec::new(),
        damage: Vec::new(),
        findings: lines(false),
        withdrawn: lines(true),
        findings_omitted: closing.omitted,
        verdicts: closing.verdicts.iter().map(VerdictLine::from).collect(),
    };
    collector.finish(Subject { check, header })
}

/// A device whose unbind waits three seconds for an allocation and an mmap.
pub(super) fn hang() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 4);
    kernel.mmap(0, 12, 2);
    kernel.begin(0, 11, Order::Right);
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    kernel.idle(3_000_000_000);
    kernel
}

pub(super) fn fault(fault: Fault) -> Kernel {
    let mut kernel = play::watched();
    kernel.inject(fault, 0);
    kernel
}

/// A fault, with this name for all of its tasks.
pub(super) fn by_tasks_named(comm: &[u8; 16]) -> Kernel {
    let mut kernel = fault(Fault::RemovedFirst);
    for element in &mut kernel.elements {
        if let Element::Event(event) = element
            && let Some(task) = &mut event.task
        {
            task.comm = *comm;
        }
    }
    kernel
}
