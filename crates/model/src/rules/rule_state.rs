//! What the rules had come to at some point, for whoever goes on from there without what was before.

use p2p_trace_common::Hook;
use serde::{Deserialize, Serialize};

use super::{coverage::Lost, names as rule_names, rule::RuleId};
use crate::{
    event::{DeviceAddress, names},
    text::Text,
};

/// What the rules had come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// Records of the hot ring that were lost: how many, and by when.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_hot: Lost,
    /// The same of the rare ring.
    #[serde(default, with = "lost", skip_serializing_if = "is_none_lost")]
    pub lost_rare: Lost,
    /// Of these, runs of which it is known that the kernel skipped them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What they had found and what they were not sure of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
}

/// Runs of a hook that the kernel skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The hook.
    #[serde(with = "names::hook")]
    pub hook: Hook,
    /// How many.
    pub runs: u64,
}

/// What a rule had come to for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The rule.
    #[serde(with = "rule_names::rule")]
    pub rule: RuleId,
    /// The device.
    #[serde(with = "names::device")]
    pub device: DeviceAddress,
    /// Findings so far.
    #[serde(default)]
    pub findings: u32,
    /// Of these, the ones that go on.
    #[serde(default)]
    pub open: u32,
    /// Why it was not sure.
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
