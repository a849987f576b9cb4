//! The parts of a dump that are stored as JSON: the run, its status, names, and the end. Members are only
//! ever added.

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

/// How a dump was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Recorded while tracing.
    #[default]
    Recorded,
    /// Recovered from the memory of a crashed kernel.
    Recovered,
}

/// A run: everything needed to evaluate its records on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// How the dump was made.
    #[serde(default)]
    pub origin: Origin,
    /// Index of this file in the run, from 0.
    pub file: u32,
    /// `CLOCK_BOOTTIME` and the time of day at the same moment.
    pub clock: Clock,
    /// Start of the session, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// A drain or an unbind that takes longer than this is a finding, in nanoseconds.
    pub stall_after_ns: u64,
    /// Name of the host, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// True if the dump was redacted.
    #[serde(default)]
    pub redacted: bool,
    /// What was traced and how when the file began, with the version of the tracer, the kernel's release, the
    /// boot id and the run's number.
    pub status: Status,
}

impl Header {
    /// The header of the first file of a run with this status.
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

    /// The options of the rules.
    #[must_use]
    pub const fn rules(&self) -> rules::Options {
        rules::Options { stall_after: Duration::from_nanos(self.stall_after_ns) }
    }
}

/// A change of the tracing status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// Time of the change, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The new status.
    pub status: Status,
}

/// Names of addresses that records hold. A later name of an address replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbols {
    /// Address and name.
    #[serde(deserialize_with = "few")]
    pub names: Vec<(Hex, Text)>,
}

/// Limits the names to as many as are ever kept: a million short names would need many times the memory of
/// their block.
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

/// Log statements of the kernel side, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// The statements.
    pub messages: Vec<Diagnostic>,
}

/// The reason for the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The run ended.
    End,
    /// Another file follows.
    Rotated,
    /// The trace was interrupted.
    Broken,
}

/// The end of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The reason for the end of the file.
    pub reason: Reason,
    /// Time from the attach to the detach in nanoseconds, once the run has ended.
    pub duration_ns: u64,
    /// The kernel's counters, once the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// The counts of the run, including everything in front of this block.
    pub counts: Counts,
}
