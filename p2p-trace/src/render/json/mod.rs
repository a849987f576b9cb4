//! One JSON object per line. The schema is `docs/schema/live.schema.json`; it only ever grows.

mod envelope;
mod event;
mod finding;
mod frequent;
mod summary;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use p2p_trace_common::{Hook, Ring};

pub(crate) use envelope::EnvelopeBytes;
pub use envelope::{Envelope, OutputLine, Timed};
pub use event::{EventLine, FrameLine, StateName};
pub use finding::{FindingLine, FindingState, HolderLine};
pub(crate) use frequent::Frequent;
pub use summary::{HookLine, SummaryLine};
pub use verdict::VerdictLine;

use p2p_trace_model::{
    accounting::{Accounting, Device, HookStatus, RingSizes, Status},
    event::{
        Loss, Reason,
        names::{self, Bdf},
    },
    text::Text,
    units::Clock,
};
use serde_with_macros::skip_serializing_none;

use super::{Frame, printer::Unshown};

/// Version of the lines' format. A change that is not an addition raises it.
pub(crate) const FORMAT: u32 = 1;

/// A line by its type, without the fields of its [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    /// The traced hooks and devices: the first line, and again whenever they change.
    Status(Box<StatusLine>),
    /// An event.
    Event(Box<EventLine>),
    /// Records were lost. Its time is the end of the span in which they were written.
    Lost(Timed<LostLine>),
    /// Names of addresses that earlier lines show without one: output does not wait for a name to be looked up. Its time is
    /// that of the latest record before it.
    Names(Timed<NamesLine>),
    /// Events that are not in this output, because its reader was too slow. The rules have seen them. Its time is that of the
    /// last of them.
    Unshown(Timed<UnshownLine>),
    /// A violation of a rule, after the line that shows it, and again when it has ended, has happened again, or is withdrawn.
    /// Its time is when it was reported.
    Finding(Box<Timed<FindingLine>>),
    /// The result of a rule for a device, one for each rule and device. Its time is the end of the run.
    Verdict(Timed<VerdictLine>),
    /// The last line. Its time is the end of the run.
    Summary(Timed<SummaryLine>),
}

/// The traced hooks and devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusLine {
    /// Version of the format of all lines.
    pub format: u32,
    /// When this was the status, RFC 3339 in UTC.
    pub time: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// Version of p2p-trace that traced.
    pub version: Text,
    /// CPUs: the highest possible number plus one.
    pub cpus: u32,
    /// The rings.
    pub rings: RingSizes,
    /// The quality of loss accounting.
    pub accounting: Accounting,
    /// Every hook that was requested.
    pub hooks: Vec<HookStatus>,
    /// The devices found.
    pub devices: Vec<DeviceLine>,
}

/// A device that offers p2p memory, as sysfs shows it.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceLine {
    /// The device.
    pub device: Bdf,
    /// Bound driver.
    pub driver: Option<Text>,
    /// Name in sysfs that its driver gave it, such as `nvme0`.
    pub name: Option<Text>,
    /// Bytes of p2p memory.
    pub size: Option<u64>,
    /// Bytes not allocated.
    pub available: Option<u64>,
    /// Other drivers may use it.
    pub published: Option<bool>,
}

impl StatusLine {
    /// The line for `status` as it was at `time_ns`.
    pub(crate) fn new(status: &Status, clock: &Clock, time_ns: u64) -> Self {
        // The envelope has the rest.
        let Status { version, kernel: _, boot_id: _, run: _, cpus, rings, accounting, hooks, devices } =
            status;
        Self {
            format: FORMAT,
            time: clock.rfc3339(time_ns),
            time_ns,
            version: version.clone(),
            cpus: *cpus,
            rings: *rings,
            accounting: *accounting,
            hooks: hooks.clone(),
            devices: devices.iter().map(DeviceLine::from).collect(),
        }
    }
}

impl From<&Device> for DeviceLine {
    fn from(found: &Device) -> Self {
        let Device { device, driver, name, size, available, published } = found;
        Self {
            device: Bdf(*device),
            driver: driver.clone(),
            name: name.clone(),
            size: *size,
            available: *available,
            published: *published,
        }
    }
}

/// Missing records: written and never delivered, or never written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostLine {
    /// CPU that wrote them; absent if unknown, as for skipped ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// `hot`, or `rare`.
    #[serde(with = "names::ring")]
    #[schemars(with = "String")]
    pub ring: Ring,
    /// Number of records.
    pub count: u64,
    /// Sequence number of the first; consecutive records are two apart. Meaningless for skipped ones, which have no
    /// numbers.
    pub first_seq: u64,
    /// Sequence number of the last.
    pub last_seq: u64,
    /// Start of the span in which they were written, RFC 3339 in UTC.
    pub from: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub from_ns: u64,
    /// End of that span.
    pub to_ns: u64,
    /// `overwritten`, `abandoned`, `corrupt`, `skipped` (the kernel did not run the program), `unrecorded` (the disk was
    /// too slow), `damaged` (in the dump) or `absent` (from the memory dump).
    #[serde(with = "names::reason")]
    #[schemars(with = "String")]
    pub reason: Reason,
    /// Hook whose runs were skipped; absent for other reasons, or if unknown.
    #[serde(default, with = "names::some_hook", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub hook: Option<Hook>,
}

impl LostLine {
    /// The line for a loss.
    pub(crate) fn new(loss: &Loss, clock: &Clock) -> Timed<Self> {
        let line = Self {
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
        };
        Timed::new(line, loss.to_ns, clock)
    }
}

/// Names of addresses that earlier lines show without one.
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
    /// Number of events.
    pub events: u64,
    /// Time of the first of them, RFC 3339 in UTC.
    pub from: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub from_ns: u64,
    /// Time of the last of them.
    pub to_ns: u64,
}

impl UnshownLine {
    /// The line for omitted events.
    pub(crate) fn new(unshown: &Unshown, clock: &Clock) -> Timed<Self> {
        let Unshown { events, from_ns, to_ns } = *unshown;
        Timed::new(Self { events, from: clock.rfc3339(from_ns), from_ns, to_ns }, to_ns, clock)
    }
}

#[cfg(test)]
mod tests;
