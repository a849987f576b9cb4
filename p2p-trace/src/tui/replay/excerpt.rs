//! A part of a dump as a dump of its own: the last minutes before a moment.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{Checkpoint, Reason, RunReader, Writer};
use p2p_trace_model::event::Names;

use super::seek_buffer::{SeekBuffer, Until};
use crate::run::stop::Stop;

/// How much of it.
const HISTORY_NS: u64 = 300 * 1_000_000_000;
/// Events that may have to be waited for until none waits for its stack.
const UNSETTLED: u64 = 1000;

/// Writes what there was up to `now_ns`. `names` are all that are known then.
/// Fails when the dump cannot be read or the part not be written.
pub(super) fn write<R: Read, W: Write + 'static>(
    reader: RunReader<R>,
    out: W,
    now_ns: u64,
    names: &Names,
    stop: &Stop,
) -> Result<()> {
    let mut seek_buffer = SeekBuffer::new(reader)?;
    let from_ns = now_ns.saturating_sub(HISTORY_NS);
    let mut header = seek_buffer.reader.header().clone();
    let is_from_the_start = header.file == 0 && from_ns <= header.start_ns;
    if !is_from_the_start {
        seek_buffer.go(Until::Time(from_ns), stop, None)?;
        // A record that waits for its stack would be in neither.
        for _ in 0..UNSETTLED {
            if seek_buffer.pipeline.is_settled() {
                break;
            }
            seek_buffer.go(Until::Event(seek_buffer.events + 1), stop, None)?;
        }
        // With this number it says itself what was before.
        header.file = header.file.max(1);
        header.status = seek_buffer.history.status().clone();
    }
    let uncertainties =
        |seek_buffer: &SeekBuffer<R>| seek_buffer.pipeline.rules().coverage().uncertainties().len();
    let run = header.status.run;
    let out: Box<dyn Write> = Box::new(out);
    let begin = || -> io::Result<_> {
        let mut writer = Writer::new(out, header)?;
        for (address, name) in names.all() {
            writer.symbol(address, &name)?;
        }
        if !is_from_the_start {
            writer.checkpoint(&Checkpoint::of(&seek_buffer.pipeline, run))?;
        }
        Ok(writer)
    };
    let writer = begin().context("cannot write the dump")?;
    let before = uncertainties(&seek_buffer);
    seek_buffer.copy = Some(writer);
    seek_buffer.go(Until::Time(now_ns), stop, None)?;
    // What losses cannot tell is told by an end that is missing.
    let reason = if uncertainties(&seek_buffer) == before { Reason::Rotated } else { Reason::Broken };
    let writer = seek_buffer.copy.take().context("cannot write the dump")?;
    writer.finish(reason, 0, None).context("cannot write the dump")?;
    Ok(())
}
