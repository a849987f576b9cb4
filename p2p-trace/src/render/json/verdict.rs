//! The line of a verdict.

use p2p_trace_model::{
    event::names::Bdf,
    rules::{
        Answer, RuleId, Severity, Verdict,
        names::{self, AnswerName, SeverityName},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of a rule for a device, over the complete run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictLine {
    /// The rule.
    #[serde(with = "names::rule")]
    #[schemars(with = "String")]
    pub rule: RuleId,
    /// The device that provides the memory.
    pub device: Bdf,
    /// The answer.
    #[serde(with = "names::answer")]
    #[schemars(with = "AnswerName")]
    pub verdict: Answer,
    /// Severity of a violation, unless a finding has another one.
    #[serde(with = "names::severity")]
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// Number of findings.
    pub findings: u32,
    /// Reasons why it is inconclusive or not checked, in full or in part; a violation has findings instead.
    pub reasons: Vec<String>,
}

impl From<&Verdict> for VerdictLine {
    fn from(verdict: &Verdict) -> Self {
        Self {
            rule: verdict.rule,
            device: Bdf(verdict.device),
            verdict: verdict.answer,
            severity: verdict.rule.spec().severity,
            findings: verdict.findings,
            reasons: verdict.reasons.clone(),
        }
    }
}
