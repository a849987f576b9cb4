//! The state of the rules at some point of a run, from which a reader continues without the earlier records.

use p2p_trace_common::Hook;
use serde::{Deserialize, Serialize};

use super::{coverage::Lost, names as rule_names, rule::RuleId};
use crate::{
    event::{DeviceAddress, names},
    text::Text,
};

/// The state of the rules at some point of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// Lost records of the hot ring.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_hot: Lost,
    /// Lost records of the rare ring.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_rare: Lost,
    /// The part of these losses that was skipped runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Findings and uncertainties, by rule and device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
}

/// Runs of a hook that the kernel skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The hook.
    #[serde(with = "names::hook")]
    pub hook: Hook,
    /// Number of runs.
    pub runs: u64,
}

/// Findings and uncertainties of a rule for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The rule.
    #[serde(with = "rule_names::rule")]
    pub rule: RuleId,
    /// The device.
    #[serde(with = "names::device")]
    pub device: DeviceAddress,
    /// Number of findings so far.
    #[serde(default)]
    pub findings: u32,
    /// Number of findings that are ongoing.
    #[serde(default)]
    pub open: u32,
    /// Why the rule was uncertain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncertainties: Vec<Text>,
}

fn is_none_lost(lost: &Lost) -> bool {
    *lost == Lost::default()
}

mod lost {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use super::Lost;

    pub(super) fn serialize<S: Serializer>(lost: &Lost, serializer: S) -> Result<S::Ok, S::Error> {
        (lost.count, lost.until_ns).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lost, D::Error> {
        let (count, until_ns) = Deserialize::deserialize(deserializer)?;
        Ok(Lost { count, until_ns })
    }
}
