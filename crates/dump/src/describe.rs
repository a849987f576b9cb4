//! What is stored as JSON: the run, its status, names, and the end. Members are only ever added.

use std::{fmt, time::Duration};

use p2p_trace_model::{
    accounting::{Status, Totals},
    event::MAX_NAMES,
    names::Hex,
    rules,
    stream::Diagnostic,
    text::Text,
    units::Clock,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use super::records::Counts;

/// Where a dump comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Recorded while tracing.
    #[default]
    Recorded,
    /// Carved out of a crashed kernel's memory.
    Recovered,
}

/// A run: all that is needed to judge its records on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Where it comes from.
    #[serde(default)]
    pub origin: Origin,
    /// Which file of the run this is, from 0 on.
    pub file: u32,
    /// `CLOCK_BOOTTIME` beside the time of day.
    pub clock: Clock,
    /// When the session was opened, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// A drain or an unbind that takes longer than this is a finding, in nanoseconds.
    pub stall_after_ns: u64,
    /// Name of the host, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// It was redacted.
    #[serde(default)]
    pub redacted: bool,
    /// What was traced and how when the file began, with the version that traced, the kernel's release, the boot id
    /// and the run's number.
    pub status: Status,
}

impl Header {
    /// For the first file of a run that is traced as `status` says.
    #[must_use]
    pub fn new(status: Status, clock: Clock, start_ns: u64, rules: rules::Options) -> Self {
        Self {
            origin: Origin::Recorded,
            file: 0,
            clock,
            start_ns,
            stall_after_ns: u64::try_from(rules.stall_after.as_nanos()).unwrap_or(u64::MAX),
            host: None,
            redacted: false,
            status,
        }
    }

    /// What the rules went by.
    #[must_use]
    pub const fn rules(&self) -> rules::Options {
        rules::Options { stall_after: Duration::from_nanos(self.stall_after_ns) }
    }
}

/// What is attached has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// By this time, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// To this.
    pub status: Status,
}

/// Names of addresses that records hold. A later name of an address replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbols {
    /// Address and name.
    #[serde(deserialize_with = "few")]
    pub names: Vec<(Hex, Text)>,
}

/// No more names than are ever kept: a million short ones would take many times the room of their block.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Hex, Text)>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<(Hex, Text)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_NAMES} names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = all.next_element()? {
                if names.len() == MAX_NAMES {
                    return Err(A::Error::invalid_length(MAX_NAMES + 1, &self));
                }
                names.push(name);
            }
            Ok(names)
        }
    }

    deserializer.deserialize_seq(Few)
}

/// What the kernel side said of itself, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// One after the other.
    pub said: Vec<Diagnostic>,
}

/// Why a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The run was over.
    End,
    /// Another file follows.
    Rotated,
    /// The trace broke off.
    Broken,
}

/// The end of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Why it ends.
    pub reason: Reason,
    /// From the attach to the detach in nanoseconds, once the run is over.
    pub duration_ns: u64,
    /// What the kernel counted, once the run is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// What the run has come to, with all that is in front of this block.
    pub counts: Counts,
}
