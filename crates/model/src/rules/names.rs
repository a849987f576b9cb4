//! How what the rules say is written in JSON.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

use super::{Answer, RuleId, Severity};
use crate::names::by_name;

/// What stands for a severity in the schema.
#[derive(JsonSchema)]
#[schemars(rename = "Severity", rename_all = "lowercase")]
pub enum SeverityName {
    /// Nothing breaks by it alone.
    Medium,
    /// A hang, a leak, or corrupted accounting.
    High,
    /// Memory safety.
    Critical,
}

/// What stands for the answer of a rule in the schema.
#[derive(JsonSchema)]
#[schemars(rename = "Answer", rename_all = "snake_case")]
pub enum AnswerName {
    /// Everything that it needs was seen, and nothing violates it.
    Holds,
    /// There is at least one finding. A stall that has ended stays one.
    Violated,
    /// Nothing was found, and something can have been missed.
    Inconclusive,
    /// A hook that it needs was not asked for, or does not exist on this kernel.
    NotChecked,
}

by_name!(rule, RuleId, RuleId::name, RuleId::from_name);
by_name!(severity, Severity, Severity::name, Severity::from_name);
by_name!(answer, Answer, answer_name, |name| {
    use Answer::{Holds, Inconclusive, NotChecked, Violated};
    [Holds, NotChecked, Inconclusive, Violated].into_iter().find(|answer| answer_name(*answer) == name)
});

/// One word, for scripts.
const fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::NotChecked => "not_checked",
        other => other.name(),
    }
}
