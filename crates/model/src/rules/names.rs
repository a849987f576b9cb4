//! JSON representation of rules, severities and answers.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

use super::{Answer, RuleId, Severity};
use crate::names::by_name;

/// The severity of a violation.
#[derive(JsonSchema)]
#[schemars(rename = "Severity", rename_all = "lowercase")]
pub enum SeverityName {
    /// Nothing breaks because of it alone.
    Medium,
    /// A hang, a leak, or corrupted accounting.
    High,
    /// Memory safety.
    Critical,
}

/// The answer of a rule.
#[derive(JsonSchema)]
#[schemars(rename = "Answer", rename_all = "snake_case")]
pub enum AnswerName {
    /// Everything that the rule needs was seen, and nothing violates it.
    Holds,
    /// There is at least one finding. A stall that has ended remains a violation.
    Violated,
    /// There is no finding, but a violation may have been missed.
    Inconclusive,
    /// A hook that the rule needs was not enabled, or its function does not exist on this kernel.
    NotChecked,
}

by_name!(rule, RuleId, RuleId::name, RuleId::from_name);
by_name!(severity, Severity, Severity::name, Severity::from_name);
by_name!(answer, Answer, answer_name, |name| {
    use Answer::{Holds, Inconclusive, NotChecked, Violated};
    [Holds, NotChecked, Inconclusive, Violated].into_iter().find(|answer| answer_name(*answer) == name)
});

/// The answer as a single word, for scripts.
const fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::NotChecked => "not_checked",
        other => other.name(),
    }
}
