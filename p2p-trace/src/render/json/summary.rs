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

/// One hook at the end, in units of what it counts: pages for page frees, else events.
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
    /// Counted by the kernel side.
    pub hits: u64,
    /// Arrived.
    pub delivered: u64,
    /// Counted, and did not arrive.
    pub lost: u64,
    /// Runs that the kernel skipped and that can have cost a record; absent where it does not say.
    pub missed: Option<u64>,
}

/// The whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryLine {
    /// Events delivered.
    pub events: u64,
    /// Records lost: the sum of all losses that were told.
    pub lost: u64,
    /// Of these, never written: the kernel skipped the program that would have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// From the first status to the detach.
    pub duration_ns: u64,
    /// The quality of loss accounting.
    pub accounting: Accounting,
    /// Where the kernel's counters and the rings' positions contradict each other; empty: they agree.
    pub contradictions: Vec<String>,
    /// Calls whose arguments found no room: their exits tell less, or nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes_full: u64,
    /// Exits whose entry was not seen: calls that were under way at the attach, or found no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes_missing: u64,
    /// Bursts of page frees that were written later than what they precede.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bursts_late: u64,
    /// Findings beyond those that are kept, which are only counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub findings_omitted: u64,
    /// Per hook that was asked for and writes records.
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
