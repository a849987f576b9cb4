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

/// What a rule came to for a device, over the whole run.
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
    /// How grave a violation is, unless a finding says otherwise.
    #[serde(with = "names::severity")]
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// How many findings there are.
    pub findings: u32,
    /// Why it is inconclusive or not checked, or which part of it is not; a violation has findings instead.
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
