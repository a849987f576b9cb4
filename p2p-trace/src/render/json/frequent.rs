//! The lines of frequent events, written without an [`EventLine`](super::EventLine) for each: the same bytes at a
//! third of the cost. Events with any field that frequent ones lack use the general path.

use std::{
    collections::HashMap,
    io::{self, Write as _},
};

use p2p_trace_model::event::{DeviceAddress, Event};

use super::{envelope::EnvelopeBytes, event::FrameLine};
use crate::render::Context;

/// Maximum of cached callers.
const MAX_CALLERS: usize = 1024;

/// Cached fragments of lines.
#[derive(Debug, Default)]
pub(crate) struct Frequent {
    /// The last second, formatted.
    second: Option<(i64, String)>,
    /// Callers as fragments, empty if omitted, and the generation of the names that they use.
    callers: HashMap<u64, String>,
    generation: u64,
    /// The last task's name, raw and as a JSON string.
    comm: Option<([u8; 16], String)>,
}

impl Frequent {
    /// Appends the line of an event. False: the event is not frequent, and nothing was written.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event,
        context: &Context<'_>,
        envelope: &EnvelopeBytes,
    ) -> io::Result<bool> {
        if !is_frequent(event) {
            return Ok(false);
        }
        self.line(out, event, context, envelope)?;
        Ok(true)
    }

    fn line(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event,
        context: &Context<'_>,
        envelope: &EnvelopeBytes,
    ) -> io::Result<()> {
        out.extend_from_slice(b"{\"type\":\"event\"");
        out.extend_from_slice(envelope.as_bytes());
        out.extend_from_slice(b",\"id\":\"");
        hex_run(out, event.id.run);
        out.push(b':');
        number(out, event.id.cpu);
        out.push(b':');
        number(out, event.id.seq);
        out.push(b'"');
        text(out, ",\"kind\":", event.kind.name())?;
        text(out, ",\"hook\":", event.hook.name())?;
        if let Some(function) = context.function(event.hook) {
            text(out, ",\"function\":", function)?;
        }
        text(out, ",\"method\":", event.method.name())?;
        self.time(out, event.time_ns, context);
        numbered(out, ",\"time_ns\":", Some(event.time_ns));
        numbered(out, ",\"cpu\":", Some(event.id.cpu));
        numbered(out, ",\"seq\":", Some(event.id.seq));
        if let Some(task) = event.task {
            numbered(out, ",\"pid\":", Some(task.pid));
            numbered(out, ",\"tgid\":", Some(task.tgid));
            if self.comm.as_ref().is_none_or(|(comm, _)| *comm != task.comm) {
                self.comm = Some((task.comm, serde_json::to_string(&task.name())?));
            }
            if let Some((_, name)) = &self.comm {
                out.extend_from_slice(b",\"comm\":");
                out.extend_from_slice(name.as_bytes());
            }
        }
        numbered(out, ",\"cgroup_id\":", event.cgroup);
        device(out, ",\"device\":", event.device)?;
        hex(out, ",\"pgmap\":", event.pgmap);
        numbered(out, ",\"bar\":", event.bar);
        numbered(out, ",\"offset\":", event.offset);
        hex(out, ",\"addr\":", event.addr);
        hex(out, ",\"range_start\":", event.range.map(|range| range.start));
        hex(out, ",\"range_end\":", event.range.map(|range| range.end));
        numbered(out, ",\"size\":", event.size);
        numbered(out, ",\"ret\":", event.ret);
        if event.failed {
            out.extend_from_slice(b",\"failed\":true");
        }
        numbered(out, ",\"count\":", event.count);
        hex(out, ",\"sgl\":", event.sgl);
        hex(out, ",\"user_addr\":", event.user_addr);
        hex(out, ",\"page\":", event.page);
        hex(out, ",\"phys\":", event.physical);
        device(out, ",\"client\":", event.client)?;
        self.caller(out, event.caller, context)?;
        out.push(b'}');
        Ok(())
    }

    /// Formats the date once per second.
    fn time(&mut self, out: &mut Vec<u8>, time_ns: u64, context: &Context<'_>) {
        let (second, ns) = context.clock.second_of(time_ns);
        if self.second.as_ref().is_none_or(|(before, _)| *before != second) {
            let mut time = context.clock.rfc3339(time_ns);
            // The fraction.
            time.truncate(time.rfind('.').unwrap_or(time.len()));
            self.second = Some((second, time));
        }
        out.extend_from_slice(b",\"time\":\"");
        if let Some((_, time)) = &self.second {
            out.extend_from_slice(time.as_bytes());
        }
        out.push(b'.');
        // Drops the leading digit and keeps the zeros after it.
        let digits = out.len();
        number(out, 1_000_000_000 + ns);
        out.remove(digits);
        out.extend_from_slice(b"Z\"");
    }

    /// A caller without a name is looked up each time.
    fn caller(&mut self, out: &mut Vec<u8>, caller: Option<u64>, context: &Context<'_>) -> io::Result<()> {
        let Some(addr) = caller else { return Ok(()) };
        let generation = context.symbols.generation();
        if generation != self.generation || self.callers.len() >= MAX_CALLERS {
            self.callers.clear();
            self.generation = generation;
        }
        if let Some(written) = self.callers.get(&addr) {
            out.extend_from_slice(written.as_bytes());
            return Ok(());
        }
        let frame = context.caller(addr).map(FrameLine::from);
        let is_final = frame.as_ref().is_none_or(|frame| frame.symbol.is_some());
        let written = match frame {
            Some(frame) => format!(",\"caller\":{}", serde_json::to_string(&frame)?),
            None => String::new(),
        };
        out.extend_from_slice(written.as_bytes());
        if is_final {
            self.callers.insert(addr, written);
        }
        Ok(())
    }
}

/// The event has only fields that this module writes.
const fn is_frequent(event: &Event) -> bool {
    let Event {
        armed,
        refs,
        reference,
        allocated,
        flag,
        state,
        pooled,
        waiting_ns,
        span,
        burst_cpu,
        parent,
        stack,
        ..
    } = event;
    !*armed
        && refs.is_none()
        && allocated.is_none()
        && flag.is_none()
        && state.is_none()
        && reference.is_none()
        && pooled.is_none()
        && waiting_ns.is_none()
        && span.is_none()
        && burst_cpu.is_none()
        && parent.is_none()
        && stack.is_empty()
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn numbered(out: &mut Vec<u8>, name: &str, value: Option<impl itoa::Integer>) {
    if let Some(value) = value {
        out.extend_from_slice(name.as_bytes());
        number(out, value);
    }
}

/// A name of the tracer, or of a function, copied as it is if no character needs an escape.
fn text(out: &mut Vec<u8>, name: &str, value: &str) -> io::Result<()> {
    out.extend_from_slice(name.as_bytes());
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(out, value)?)
}

/// A device as `Bdf` writes it. No character of it needs an escape.
fn device(out: &mut Vec<u8>, name: &str, value: Option<DeviceAddress>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{name}\"pci/{value}\""),
        None => Ok(()),
    }
}

const DIGITS: [u8; 16] = *b"0123456789abcdef";

fn hex(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    let Some(value) = value else { return };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\"0x");
    digits(out, value, 16 - (value.leading_zeros() as usize / 4).min(15));
    out.push(b'"');
}

fn hex_run(out: &mut Vec<u8>, run: u64) {
    digits(out, run, 16);
}

fn digits(out: &mut Vec<u8>, value: u64, count: usize) {
    let mut all = [b'0'; 16];
    for (at, digit) in all.iter_mut().enumerate() {
        *digit = DIGITS[(value >> (60 - 4 * at) & 0xf) as usize];
    }
    out.extend_from_slice(&all[16 - count..]);
}
