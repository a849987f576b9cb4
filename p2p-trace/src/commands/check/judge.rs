//! One run, judged.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{End, Header, Names};
use p2p_trace_model::{
    accounting::Status,
    pipeline::{Closing, Pipeline, Slice, Step},
    rules::{Answer, Finding, Severity, Verdict},
};

use super::{Judged, Options, report, text};
use crate::{
    commands::dumps,
    drive::{self, Ending, Next, Sink},
    output::Context,
};

/// What a run has come to.
pub(in crate::commands) struct Outcome {
    pub(super) files: Vec<String>,
    pub(in crate::commands) header: Header,
    pub(super) end: End,
    pub(super) findings: Vec<Finding>,
    pub(super) closing: Closing,
    /// The latest record's time, or when the run ended.
    pub(super) duration_ns: u64,
    pub(super) damage: Vec<String>,
    pub(in crate::commands) answer: Answer,
}

/// Judges a run, and writes what it comes to.
pub(super) fn judge(mut run: dumps::Run, options: Options) -> Result<Judged> {
    let outcome = outcome(&mut run, options.fail_on, options.stall_after, &mut ())?;
    let names = run.tape.names();
    let context = outcome.context(&names);
    let text = if options.json {
        report::json(&outcome, &context)?
    } else {
        text::text(&outcome, &context, options.style)
    };
    let answer = outcome.answer;
    Ok(Judged { text, answer })
}

/// Judges a run, by this time where stalls are to be judged by another one than the dump's, while `also` listens.
pub(in crate::commands) fn outcome(
    run: &mut dumps::Run,
    fail_on: Severity,
    stall_after: Option<Duration>,
    also: &mut impl Sink,
) -> Result<Outcome> {
    let files: Vec<_> = run.files.iter().map(|path| dumps::name(path)).collect();
    let mut header = run.tape.header().clone();
    let mut rules = header.rules();
    rules.stall_after = stall_after.unwrap_or(rules.stall_after);
    let mut kept = Kept {
        also,
        status: None,
        findings: BTreeMap::new(),
        closing: None,
        duration_ns: 0,
    };
    let end = drive::play(&mut run.tape, rules, &mut kept)
        .with_context(|| format!("cannot read {}", files.join(", ")))?;
    let (closing, end) = kept.closing.zip(end).context("a dump ended without an end")?;
    if let Some(status) = kept.status {
        header.status = status;
    }
    let findings: Vec<_> = kept.findings.into_values().collect();
    let answer = answer(&findings, &closing, &end, fail_on);
    let duration_ns = if kept.duration_ns > 0 {
        kept.duration_ns
    } else {
        closing.ended_ns.saturating_sub(header.start_ns)
    };
    Ok(Outcome {
        files,
        end,
        findings,
        closing,
        duration_ns,
        damage: run.tape.complaints(),
        answer,
        header,
    })
}

impl Outcome {
    /// What its events are shown with.
    pub(in crate::commands) fn context<'a>(&self, names: &'a Names) -> Context<'a> {
        Context::new(self.header.clock, &self.header.status, names)
    }
}

/// The answer for the run as a whole.
fn answer(findings: &[Finding], closing: &Closing, end: &End, fail_on: Severity) -> Answer {
    // A violation that was told in an earlier file has no finding in this one.
    let by_verdict = |verdict: &Verdict| {
        let told = verdict.answer == Answer::Violated && verdict.findings > 0;
        let known = |finding: &&Finding| finding.rule == verdict.rule && finding.device == verdict.device;
        let is_known = findings.iter().filter(known).count() as u32 >= verdict.findings;
        told && !is_known && verdict.rule.spec().severity >= fail_on
    };
    let is_violated =
        findings.iter().any(|finding| finding.severity >= fail_on) || closing.verdicts.iter().any(by_verdict);
    let is_open = |verdict: &Verdict| verdict.answer == Answer::Inconclusive;
    if is_violated {
        Answer::Violated
    } else if closing.verdicts.iter().any(is_open)
        || closing.omitted > 0
        || *end == End::CutOff
        || closing.verdicts.is_empty() && closing.is_doubtful
    {
        Answer::Inconclusive
    } else {
        Answer::Holds
    }
}

/// What is kept of a run.
struct Kept<'a, S> {
    /// Listens, too.
    also: &'a mut S,
    status: Option<Status>,
    findings: BTreeMap<u32, Finding>,
    closing: Option<Closing>,
    duration_ns: u64,
}

impl<S> Kept<'_, S> {
    fn keep(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.findings.insert(finding.number, finding.clone());
        }
    }
}

impl<S: Sink> Sink for Kept<'_, S> {
    fn begin(&mut self, status: &Status) -> Result<()> {
        self.also.begin(status)
    }

    fn changed(&mut self, status: &Status, time_ns: u64) -> Result<()> {
        self.status = Some(status.clone());
        self.also.changed(status, time_ns)
    }

    fn slice(&mut self, slice: &Slice) -> Result<()> {
        self.also.slice(slice)
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.keep(step.findings);
        self.also.step(step)
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        self.also.pause(pipeline)
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.keep(&closing.rest);
        self.closing = Some(closing.clone());
        self.duration_ns = ending.duration_ns();
        self.also.end(closing, ending)
    }
}
