//! Evaluates the rules for one run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{End, Header};
use p2p_trace_model::{
    accounting::Status,
    pipeline::{Closing, Step},
    rules::{Answer, Finding, Severity, Verdict},
    text::Text,
};

use super::{Ending, Sink, Tee, dumps, play};

/// The results of a run.
pub(crate) struct Outcome {
    pub(crate) files: Vec<Text>,
    pub(crate) header: Header,
    pub(crate) end: End,
    pub(crate) findings: Vec<Finding>,
    /// Findings that were withdrawn.
    pub(crate) withdrawn: Vec<Finding>,
    pub(crate) closing: Closing,
    /// From the start to the end of the run, or to its latest record if the end is missing.
    pub(crate) duration_ns: u64,
    pub(crate) damage: Vec<String>,
    /// Messages about records that were given more than once.
    pub(crate) repeats: Vec<String>,
    pub(crate) answer: Answer,
}

/// Evaluates a run. `stall_after` replaces the recorded limit of stalls. `also` receives the same stream.
pub(crate) fn outcome(
    run: &mut dumps::Run,
    fail_on: Severity,
    stall_after: Option<Duration>,
    also: &mut impl Sink,
) -> Result<Outcome> {
    let files: Vec<_> = run.files.iter().map(|path| dumps::name(path)).collect();
    let mut header = run.reader.header().clone();
    let mut rules = header.rules();
    rules.stall_after = stall_after.unwrap_or(rules.stall_after);
    let mut kept = Kept::default();
    let mut both = Tee { first: &mut kept, second: Some(also) };
    let end = play(&mut run.reader, rules, &mut both)
        .with_context(|| format!("cannot read {}", files.join(", ")))?;
    let (closing, end) = kept.closing.zip(end).context("internal error: the dump has no end")?;
    if let Some(status) = kept.status {
        header.status = status;
    }
    let (withdrawn, findings): (Vec<_>, Vec<_>) =
        kept.findings.into_values().partition(|finding| finding.withdrawn.is_some());
    let answer = answer(&findings, &closing, &end, fail_on);
    let duration_ns = if kept.duration_ns > 0 {
        kept.duration_ns
    } else {
        closing.ended_ns.saturating_sub(header.start_ns)
    };
    let (damage, repeats) = (run.reader.complaints(), run.reader.repeats().to_vec());
    Ok(Outcome { files, header, end, findings, withdrawn, closing, duration_ns, damage, repeats, answer })
}

/// The answer for the run, from all rules and devices.
fn answer(findings: &[Finding], closing: &Closing, end: &End, fail_on: Severity) -> Answer {
    // Findings beyond the limit are counted in the verdict, but not listed.
    let by_verdict = |verdict: &Verdict| {
        let is_counted = verdict.answer == Answer::Violated && verdict.findings > 0;
        let known = |finding: &&Finding| finding.rule == verdict.rule && finding.device == verdict.device;
        let is_known = findings.iter().filter(known).count() as u32 >= verdict.findings;
        is_counted && !is_known && verdict.rule.spec().severity >= fail_on
    };
    let is_violated =
        findings.iter().any(|finding| finding.severity >= fail_on) || closing.verdicts.iter().any(by_verdict);
    let is_open = |verdict: &Verdict| verdict.answer == Answer::Inconclusive;
    if is_violated {
        Answer::Violated
    } else if closing.verdicts.iter().any(is_open)
        || closing.omitted > 0
        || *end == End::CutOff
        || closing.verdicts.is_empty() && closing.is_inconclusive
    {
        Answer::Inconclusive
    } else {
        Answer::Holds
    }
}

/// The parts of a run that are needed for its results.
#[derive(Default)]
struct Kept {
    status: Option<Status>,
    findings: BTreeMap<u32, Finding>,
    closing: Option<Closing>,
    duration_ns: u64,
}

impl Kept {
    fn keep(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.findings.insert(finding.number, finding.clone());
        }
    }
}

impl Sink for Kept {
    fn changed(&mut self, status: &Status, _time_ns: u64) -> Result<()> {
        self.status = Some(status.clone());
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.keep(step.findings);
        Ok(())
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.keep(&closing.rest);
        self.closing = Some(closing.clone());
        self.duration_ns = ending.duration_ns();
        Ok(())
    }
}
