//! The result of a check as JSON.

use anyhow::Result;
use p2p_trace_dump::End;
use p2p_trace_model::rules::{
    Answer, Finding,
    names::{self, AnswerName},
};
use p2p_trace_model::text::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    render::{
        Context,
        json::{FindingLine, VerdictLine},
    },
    run::evaluate::Outcome,
};

/// Version of the report's format. A change that is not an addition raises it.
const FORMAT: u32 = 1;

/// How the dump of a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DumpEnding {
    /// With the end of the run.
    Complete,
    /// The run continues in a file that was not given.
    Continues,
    /// Before the end of the run: the recorder was killed, or the file was truncated.
    CutOff,
}

/// The results of the rules for the dump of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "p2p-trace check --json")]
pub struct CheckReport {
    /// Version of the format.
    pub format: u32,
    /// The files, in the order of the run.
    pub files: Vec<Text>,
    /// Random number of the run.
    pub run: String,
    /// Boot id of the kernel.
    pub boot_id: Text,
    /// The host, if the dump names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// Release of the kernel.
    pub kernel: Text,
    /// Version of p2p-trace that recorded it.
    pub version: Text,
    /// Start of the run, RFC 3339 in UTC.
    pub start: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// Duration of the run, or up to the last record.
    pub duration_ns: u64,
    /// How the dump ends.
    pub ending: DumpEnding,
    /// The answer for the complete run, which determines the exit code.
    #[serde(with = "names::answer")]
    #[schemars(with = "AnswerName")]
    pub verdict: Answer,
    /// Events in the dump.
    pub events: u64,
    /// Records lost.
    pub lost: u64,
    /// Parts of the dump that cannot be read, in sentences.
    pub damage: Vec<String>,
    /// Parts that were given more than once and count once, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<String>,
    /// Findings, oldest first.
    pub findings: Vec<FindingLine>,
    /// Withdrawn findings: a later fact refuted them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<FindingLine>,
    /// Findings beyond the limit, which are only counted.
    pub findings_omitted: u64,
    /// The result of each rule for each device.
    pub verdicts: Vec<VerdictLine>,
}

impl From<&End> for DumpEnding {
    fn from(end: &End) -> Self {
        match end {
            End::Complete(_) => Self::Complete,
            End::Continues => Self::Continues,
            End::CutOff => Self::CutOff,
        }
    }
}

/// The report on one line.
pub(crate) fn json(outcome: &Outcome, context: &Context<'_>) -> Result<String> {
    let mut line = serde_json::to_string(&report(outcome, context))?;
    line.push('\n');
    Ok(line)
}

pub(crate) fn report(outcome: &Outcome, context: &Context<'_>) -> CheckReport {
    let header = &outcome.header;
    let status = &header.status;
    let lines =
        |findings: &[Finding]| findings.iter().map(|finding| FindingLine::new(finding, context)).collect();
    CheckReport {
        format: FORMAT,
        files: outcome.files.clone(),
        run: format!("{:016x}", status.run),
        boot_id: status.boot_id.clone(),
        host: header.host.clone(),
        kernel: status.kernel.clone(),
        version: status.version.clone(),
        start: context.clock.rfc3339(header.start_ns),
        start_ns: header.start_ns,
        duration_ns: outcome.duration_ns,
        ending: (&outcome.end).into(),
        verdict: outcome.answer,
        events: outcome.closing.outcome.events,
        lost: outcome.closing.outcome.lost,
        damage: outcome.damage.clone(),
        repeats: outcome.repeats.clone(),
        findings: lines(&outcome.findings),
        withdrawn: lines(&outcome.withdrawn),
        findings_omitted: outcome.closing.omitted,
        verdicts: outcome.closing.verdicts.iter().map(VerdictLine::from).collect(),
    }
}
