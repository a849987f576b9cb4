//! The fields that every line has, so that each line stands alone.

use std::ops::Deref;

use p2p_trace_model::{accounting::Status, event::names, text::Text, units::Clock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;

/// The run that a line belongs to. These fields are the same in every line of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Name of the host. Absent in a redacted dump, or if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// Boot id of the kernel; a pseudonym in a redacted dump.
    pub boot_id: Text,
    /// Random number of the run, 16 hexadecimal digits: the first part of every id of a record.
    #[serde(with = "names::run")]
    #[schemars(with = "String")]
    pub run: u64,
    /// Release of the kernel.
    pub kernel: Text,
}

impl Envelope {
    /// For the lines of a run with this status.
    pub(crate) fn new(host: Option<Text>, status: &Status) -> Self {
        let Status { boot_id, run, kernel, .. } = status;
        Self { host, boot_id: boot_id.clone(), run: *run, kernel: kernel.clone() }
    }

    /// Its fields as every line contains them.
    pub(crate) fn to_bytes(&self) -> EnvelopeBytes {
        // Serializing strings to memory does not fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.pop();
        if let Some(brace) = bytes.first_mut() {
            *brace = b',';
        }
        EnvelopeBytes(bytes)
    }
}

/// The fields of an [`Envelope`], serialized once per run: a comma before each, ready to follow `"type"`.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnvelopeBytes(Vec<u8>);

impl EnvelopeBytes {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends a line with these fields after its type, without a line break.
    pub(crate) fn write(&self, out: &mut Vec<u8>, line: &Line) -> serde_json::Result<()> {
        const TAG: &[u8] = b"{\"type\":\"";
        let start = out.len();
        serde_json::to_writer(&mut *out, line)?;
        // The name of a type contains no quotation mark.
        let name = start + TAG.len();
        let quote = out.get(name..).and_then(|rest| rest.iter().position(|&byte| byte == b'"'));
        if let Some(quote) = quote {
            let at = name + quote + 1;
            out.splice(at..at, self.0.iter().copied());
        }
        Ok(())
    }
}

/// One line of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "p2p-trace live --json")]
pub struct OutputLine {
    /// The run.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The rest, by its type.
    #[serde(flatten)]
    pub line: Line,
}

/// A line with the time that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}")]
pub struct Timed<T> {
    /// RFC 3339 in UTC.
    pub time: String,
    /// The same, `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The rest.
    #[serde(flatten)]
    pub line: T,
}

impl<T> Timed<T> {
    pub(crate) fn new(line: T, time_ns: u64, clock: &Clock) -> Self {
        Self { time: clock.rfc3339(time_ns), time_ns, line }
    }
}

impl<T> Deref for Timed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.line
    }
}
