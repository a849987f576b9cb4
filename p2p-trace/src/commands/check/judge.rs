//! One run, judged.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{Judged, Options, report, text};
use crate::{
    account::Status,
    commands::dumps,
    drive::{Ending, Next, Sink},
    dump::{self, End, Header},
    output::Context,
    pipeline::{Closing, Pipeline, Step},
    rules::{Answer, Finding, Severity, Verdict},
};

/// What a run has come to.
pub(super) struct Outcome {
    pub(super) files: Vec<String>,
    pub(super) header: Header,
    pub(super) end: End,
    pub(super) findings: Vec<Finding>,
    pub(super) closing: Closing,
    /// The latest record's time, or when the run ended.
    pub(super) duration_ns: u64,
    pub(super) damage: Vec<String>,
    pub(super) answer: Answer,
}

/// Judges a run, and writes what it comes to.
pub(super) fn judge(mut run: dumps::Run, options: Options) -> Result<Judged> {
    let files: Vec<_> = run.files.iter().map(|path| dumps::name(path)).collect();
    let mut header = run.tape.header().clone();
    let mut rules = header.rules();
    rules.stall_after = options.stall_after.unwrap_or(rules.stall_after);
    let mut kept = Kept::default();
    let end = dump::play(&mut run.tape, rules, &mut kept)
        .with_context(|| format!("cannot read {}", files.join(", ")))?;
    let (closing, end) = kept.closing.zip(end).context("a dump ended without an end")?;
    if let Some(status) = kept.status {
        header.status = status;
    }
    let findings: Vec<_> = kept.findings.into_values().collect();
    let answer = answer(&findings, &closing, &end, options.fail_on);
    let duration_ns = if kept.duration_ns > 0 {
        kept.duration_ns
    } else {
        closing.ended_ns.saturating_sub(header.start_ns)
    };
    let names = run.tape.names();
    let outcome = Outcome {
        files,
        end,
        findings,
        closing,
        duration_ns,
        damage: damage(&run.tape),
        answer,
        header,
    };
    let context = Context::new(outcome.header.clock, &outcome.header.status, &names);
    let text = if options.json {
        report::json(&outcome, &context)?
    } else {
        text::text(&outcome, &context, options.style)
    };
    Ok(Judged { text, answer })
}

/// What is wrong with the dump itself, in sentences.
fn damage(tape: &dump::Tape<dumps::Input>) -> Vec<String> {
    let mut damage: Vec<_> = tape.damage().iter().map(ToString::to_string).collect();
    let more = tape.damaged().saturating_sub(damage.len() as u64);
    if more > 0 {
        damage.push(format!("{more} more stretches cannot be read"));
    }
    let unknown =
        |kind: &u8| format!("blocks of kind {kind}, which this version does not know, were skipped");
    damage.extend(tape.unknown().iter().map(unknown));
    damage
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
    fn begin(&mut self, _status: &Status) -> Result<()> {
        Ok(())
    }

    fn changed(&mut self, status: &Status, _time_ns: u64) -> Result<()> {
        self.status = Some(status.clone());
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.keep(step.findings);
        Ok(())
    }

    fn pause(&mut self, _pipeline: &Pipeline) -> Result<Next> {
        Ok(Next::Go)
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.keep(&closing.rest);
        self.closing = Some(closing.clone());
        self.duration_ns = ending.duration_ns();
        Ok(())
    }
}
