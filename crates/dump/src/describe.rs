//! What is stored as JSON: the run, its status, names, and the end. Members are only ever added.

use std::time::Duration;

use p2p_trace_common::Ring;
use p2p_trace_model::{
    accounting::{Position, Shortfalls, Status, Totals},
    names::Hex,
    rules,
    units::Clock,
};
use serde::{Deserialize, Serialize};

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
    #[serde(with = "clock")]
    pub clock: Clock,
    /// When the session was opened, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// A drain or an unbind that takes longer than this is a finding, in nanoseconds.
    pub stall_after_ns: u64,
    /// Name of the host, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Kernel addresses were replaced by tokens.
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
        rules::Options {
            stall_after: Duration::from_nanos(self.stall_after_ns),
        }
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
    pub names: Vec<(Hex, String)>,
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
    #[serde(default, with = "totals", skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// What the run has come to, with all that is in front of this block.
    #[serde(with = "counts")]
    pub counts: Counts,
}

/// A module that writes a foreign type as a wire form that converts both ways.
macro_rules! as_wire {
    ($vis:vis $module:ident, $wire:ident, $type:ty) => {
        $vis mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            use super::*;

            pub(crate) fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                $wire::from(value).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$type, D::Error> {
                $wire::deserialize(deserializer).map(Into::into)
            }
        }
    };
}

as_wire!(clock, ClockWire, Clock);
as_wire!(pub(super) counts, CountsWire, Counts);
as_wire!(totals, TotalsWire, Option<Totals>);

#[derive(Serialize, Deserialize)]
struct ClockWire {
    boottime_ns: u64,
    realtime_ns: u64,
    utc_offset_s: i32,
}

impl From<&Clock> for ClockWire {
    fn from(clock: &Clock) -> Self {
        let &Clock {
            boottime_ns,
            realtime_ns,
            utc_offset_s,
        } = clock;
        Self {
            boottime_ns,
            realtime_ns,
            utc_offset_s,
        }
    }
}

impl From<ClockWire> for Clock {
    fn from(wire: ClockWire) -> Self {
        Self {
            boottime_ns: wire.boottime_ns,
            realtime_ns: wire.realtime_ns,
            utc_offset_s: wire.utc_offset_s,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct CountsWire {
    hot: u64,
    rare: u64,
    user: u64,
    statuses: u32,
}

impl From<&Counts> for CountsWire {
    fn from(counts: &Counts) -> Self {
        let &Counts {
            hot,
            rare,
            user,
            statuses,
        } = counts;
        Self {
            hot,
            rare,
            user,
            statuses,
        }
    }
}

impl From<CountsWire> for Counts {
    fn from(wire: CountsWire) -> Self {
        Self {
            hot: wire.hot,
            rare: wire.rare,
            user: wire.user,
            statuses: wire.statuses,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TotalsWire(Option<TotalsBody>);

#[derive(Serialize, Deserialize)]
struct TotalsBody {
    hits: Vec<u64>,
    missed: Vec<Option<u64>>,
    dropped: u64,
    notes_full: u64,
    notes_missing: u64,
    bursts_late: u64,
    /// CPU, ring and head.
    positions: Vec<(u32, u8, u64)>,
}

impl From<&Option<Totals>> for TotalsWire {
    fn from(totals: &Option<Totals>) -> Self {
        Self(totals.as_ref().map(|totals| {
            TotalsBody {
                hits: totals.hits.clone(),
                missed: totals.missed.clone(),
                dropped: totals.dropped,
                notes_full: totals.shortfalls.notes_full,
                notes_missing: totals.shortfalls.notes_missing,
                bursts_late: totals.shortfalls.bursts_late,
                positions: totals
                    .positions
                    .iter()
                    .map(|position| (position.cpu, position.ring as u8, position.head))
                    .collect(),
            }
        }))
    }
}

impl From<TotalsWire> for Option<Totals> {
    fn from(wire: TotalsWire) -> Self {
        let ring_of = |number: u8| Ring::ALL.into_iter().find(|ring| *ring as u8 == number);
        wire.0.map(|body| Totals {
            hits: body.hits,
            missed: body.missed,
            dropped: body.dropped,
            shortfalls: Shortfalls {
                notes_full: body.notes_full,
                notes_missing: body.notes_missing,
                bursts_late: body.bursts_late,
            },
            positions: body
                .positions
                .into_iter()
                .filter_map(|(cpu, ring, head)| {
                    Some(Position {
                        cpu,
                        ring: ring_of(ring)?,
                        head,
                    })
                })
                .collect(),
        })
    }
}
