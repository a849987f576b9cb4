//! The last line.

use p2p_trace_common::Hook;
use p2p_trace_model::{
    accounting::{Accounting, HookTally, Outcome, Status},
    event::{Method, names},
    text::Text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

/// One hook at the end, in its own unit: pages for page frees, otherwise events.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookLine {
    /// The hook.
    #[serde(with = "names::hook")]
    #[schemars(with = "String")]
    pub hook: Hook,
    /// The kernel function that was traced.
    pub function: Option<Text>,
    /// How it was attached.
    #[serde(default, with = "names::method", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<names::MethodName>")]
    pub method: Option<Method>,
    /// Hits counted by the kernel side.
    pub hits: u64,
    /// Hits delivered.
    pub delivered: u64,
    /// Hits counted and not delivered.
    pub lost: u64,
    /// Runs that the kernel skipped and that may have cost a record; absent if the kernel does not count them.
    pub missed: Option<u64>,
}

/// The complete run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryLine {
    /// Events delivered.
    pub events: u64,
    /// Records lost: the sum of all reported losses.
    pub lost: u64,
    /// Lost records that were never written, because the kernel skipped the program.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// From the first status to the detach.
    pub duration_ns: u64,
    /// The quality of loss accounting.
    pub accounting: Accounting,
    /// Contradictions between the kernel's counters and the rings' positions; empty: they agree.
    pub contradictions: Vec<String>,
    /// Calls whose arguments could not be stored: their exits have fewer fields, or are missing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes_full: u64,
    /// Exits without an observed entry: calls in progress at the attach, or calls that could not be stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes_missing: u64,
    /// Bursts of page frees that were written after a record that they precede.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bursts_late: u64,
    /// Findings beyond the limit, which are only counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub findings_omitted: u64,
    /// Every requested hook that writes records.
    pub hooks: Vec<HookLine>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SummaryLine {
    /// The line for the end of a run that was traced with `status`.
    pub(crate) fn new(outcome: &Outcome, status: &Status, duration_ns: u64) -> Self {
        let line = |tally: &HookTally| {
            let hook = status.hooks.iter().find(|hook| hook.hook == tally.hook)?;
            Some(HookLine {
                hook: tally.hook,
                function: hook.function.clone(),
                method: hook.method,
                hits: tally.hits,
                delivered: tally.delivered,
                lost: tally.lost,
                missed: tally.missed,
            })
        };
        Self {
            events: outcome.events,
            lost: outcome.lost,
            skipped: outcome.skipped,
            duration_ns,
            accounting: status.accounting,
            contradictions: outcome.contradictions.clone(),
            notes_full: outcome.shortfalls.notes_full,
            notes_missing: outcome.shortfalls.notes_missing,
            bursts_late: outcome.shortfalls.bursts_late,
            findings_omitted: 0,
            hooks: outcome.hooks.iter().filter_map(line).collect(),
        }
    }
}
