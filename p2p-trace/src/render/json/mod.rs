//! One JSON object per line. The schema is `docs/schema/live.schema.json`; it only ever grows.

mod event;
mod finding;
mod frequent;
mod summary;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use p2p_trace_common::{Hook, Ring};

pub use event::{EventLine, FrameLine, StateName};
pub use finding::{FindingLine, HolderLine};
pub(crate) use frequent::Frequent;
pub use summary::{HookLine, SummaryLine};
pub use verdict::VerdictLine;

use p2p_trace_model::{
    accounting::Status,
    event::{Loss, Reason, names},
    units::Clock,
};

use super::{Frame, printer::Unshown};

/// Version of the lines' format. A change that is not an addition raises it.
pub(crate) const FORMAT: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(title = "p2p-trace live --json", description = "One line of the output.")]
pub enum Line {
    /// What is traced and how: the first line, and again whenever it changes.
    Status(Box<StatusLine>),
    /// Something happened.
    Event(Box<EventLine>),
    /// Records were lost.
    Lost(LostLine),
    /// Names of addresses that stood in lines before without one: nobody waits for a name that has to be looked up.
    Names(NamesLine),
    /// Events that are not in this output, since whoever reads it was too slow. The rules have seen them.
    Unshown(UnshownLine),
    /// A rule is violated: after the line that showed it, and again when that has ended or has happened again.
    Finding(Box<FindingLine>),
    /// What a rule came to for a device: at the end, one for each rule and device.
    Verdict(VerdictLine),
    /// The last line.
    Summary(SummaryLine),
}

/// What is traced and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusLine {
    /// Version of the format of all lines.
    pub format: u32,
    /// When this was so, RFC 3339 in UTC.
    pub time: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// What is traced and how.
    #[serde(flatten)]
    pub status: Status,
}

impl StatusLine {
    /// The line for `status` as it was at `time_ns`.
    pub(crate) fn new(status: Status, clock: &Clock, time_ns: u64) -> Self {
        Self { format: FORMAT, time: clock.rfc3339(time_ns), time_ns, status }
    }
}

/// Records that are missing: written and never delivered, or never written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostLine {
    /// CPU that wrote them; absent where it is not known, as of those that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// `hot`, or `rare`.
    #[serde(with = "names::ring")]
    #[schemars(with = "String")]
    pub ring: Ring,
    /// How many.
    pub count: u64,
    /// Sequence number of the first; those between are two apart. Skipped ones have none, whatever stands here.
    pub first_seq: u64,
    /// Sequence number of the last.
    pub last_seq: u64,
    /// None of them was begun before this time, RFC 3339 in UTC.
    pub from: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub from_ns: u64,
    /// All of them were begun by this time.
    pub to_ns: u64,
    /// `overwritten`, `abandoned`, `corrupt`, `skipped` (the kernel did not run the program), `unrecorded` (the disk was
    /// too slow), `damaged` (in the dump) or `absent` (from the memory dump).
    #[serde(with = "names::reason")]
    #[schemars(with = "String")]
    pub reason: Reason,
    /// The hook whose runs were skipped; absent for other reasons, and where it is not told.
    #[serde(default, with = "names::some_hook", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub hook: Option<Hook>,
}

impl LostLine {
    /// The line for a loss.
    pub(crate) fn new(loss: &Loss, clock: &Clock) -> Self {
        Self {
            cpu: loss.cpu,
            ring: loss.ring,
            count: loss.count(),
            first_seq: loss.first_seq(),
            last_seq: loss.last_seq(),
            from: clock.rfc3339(loss.from_ns),
            from_ns: loss.from_ns,
            to_ns: loss.to_ns,
            reason: loss.reason,
            hook: loss.hook,
        }
    }
}

/// Names of addresses that stood in lines before without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamesLine {
    /// Each address once, with its name.
    pub names: Vec<FrameLine>,
}

impl From<Vec<Frame>> for NamesLine {
    fn from(found: Vec<Frame>) -> Self {
        Self { names: found.into_iter().map(FrameLine::from).collect() }
    }
}

/// Events that are not in this output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnshownLine {
    /// How many.
    pub events: u64,
    /// When the first of them happened, RFC 3339 in UTC.
    pub from: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub from_ns: u64,
    /// The same of the last of them.
    pub to_ns: u64,
}

impl UnshownLine {
    /// The line for what was left out.
    pub(crate) fn new(unshown: &Unshown, clock: &Clock) -> Self {
        let Unshown { events, from_ns, to_ns } = *unshown;
        Self { events, from: clock.rfc3339(from_ns), from_ns, to_ns }
    }
}

#[cfg(test)]
mod tests;
