//! The sink of `live` and `replay`: it shows the stream, answers requests, and notices the end by a finding.

use std::collections::BTreeMap;

use anyhow::Result;
use p2p_trace_model::{
    accounting::Status,
    pipeline::{Closing, Pipeline, Step},
    rules::{Finding, Severity, Verdict},
    text::Text,
};
use p2p_trace_probe::kernel::clock;

use super::Plan;
use crate::{
    commands::exit_policy::ExitPolicy,
    exit::Exit,
    render::{Printer, json::SummaryLine},
    run::{Answer, Ending, Next, Sink, stop::Stop},
};

/// Everything that was shown of a run, as far as the exit code depends on it.
pub(in crate::commands) struct Shown<'a> {
    printer: Printer<'a>,
    plan: &'a Plan,
    status: Status,
    handler: Option<Box<dyn Answer>>,
    stop: &'a Stop,
    /// Findings that were not withdrawn.
    standing: BTreeMap<u32, Severity>,
    omitted: u64,
    /// `None` until the end of the run.
    verdicts: Option<Vec<Verdict>>,
}

impl<'a> Shown<'a> {
    pub(in crate::commands) fn new(
        printer: Printer<'a>,
        plan: &'a Plan,
        status: Status,
        handler: Option<Box<dyn Answer>>,
        stop: &'a Stop,
    ) -> Self {
        Self { printer, plan, status, handler, stop, standing: BTreeMap::new(), omitted: 0, verdicts: None }
    }

    /// The exit code.
    pub(in crate::commands) fn exit(&self) -> Exit {
        let exit_policy: ExitPolicy = self.plan.exit_policy;
        exit_policy.exit(self.standing.values().max().copied(), self.omitted, self.verdicts.as_deref())
    }

    fn findings(&mut self, findings: &[Finding], now_ns: u64) -> Result<()> {
        for finding in findings {
            match finding.withdrawn {
                Some(_) => self.standing.remove(&finding.number),
                None => self.standing.insert(finding.number, finding.severity),
            };
        }
        self.printer.findings(findings, now_ns)?;
        Ok(())
    }
}

impl Sink for Shown<'_> {
    fn begin(&mut self, status: &Status) -> Result<()> {
        self.printer.status(status, self.printer.start_ns())?;
        self.printer.flush()?;
        self.plan.ready_file.announce()
    }

    fn changed(&mut self, status: &Status, time_ns: u64) -> Result<()> {
        self.printer.changed(status, time_ns)?;
        self.status = status.clone();
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.printer.element(step.element)?;
        self.findings(step.findings, step.model.now_ns())?;
        if self.plan.exit_policy.is_enough(step.findings) {
            self.stop.set();
        }
        Ok(())
    }

    fn name(&self, address: u64) -> Option<Text> {
        self.printer.symbols().symbolize(address)
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        self.printer.flush()?;
        let mut next = Next::Go;
        if let Some(handler) = &mut self.handler {
            if handler.take(clock::now().boottime_ns) {
                next = Next::Snapshot;
            }
            handler.answer(pipeline.model(), pipeline.reached_ns(), self.printer.symbols(), clock::now());
        }
        Ok(if (self.plan.is_closed)() { Next::Break } else { next })
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.findings(&closing.rest, closing.ended_ns)?;
        self.printer.settle()?;
        self.printer.verdicts(&closing.verdicts, closing.ended_ns)?;
        self.verdicts = Some(closing.verdicts.clone());
        self.omitted = closing.omitted;
        if !ending.is_whole {
            // A dump that ends before its run has no totals to show.
            return Ok(());
        }
        let summary = SummaryLine {
            findings_omitted: closing.omitted,
            ..SummaryLine::new(&closing.outcome, &self.status, ending.duration_ns())
        };
        self.printer.summary(&summary, closing.ended_ns)?;
        Ok(())
    }
}
