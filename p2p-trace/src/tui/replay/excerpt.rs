//! Writes an excerpt of a dump as a new dump: the last minutes before a given time.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{Checkpoint, Reason, RunReader, Writer};
use p2p_trace_model::event::Names;

use super::seek_buffer::{SeekBuffer, Until};
use crate::run::stop::Stop;

/// The length of the excerpt.
const HISTORY_NS: u64 = 300 * 1_000_000_000;
/// Limit of further events to read until no event waits for its stack.
const UNSETTLED: u64 = 1000;

/// Writes the excerpt that ends at `now_ns`. `names` are all names known at that time.
///
/// Fails if the dump cannot be read or the excerpt cannot be written.
pub(super) fn write<R: Read, W: Write + 'static>(
    reader: RunReader<R>,
    output: W,
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
        // A record that waits for its stack would be neither in the checkpoint nor in the excerpt.
        for _ in 0..UNSETTLED {
            if seek_buffer.pipeline.is_settled() {
                break;
            }
            seek_buffer.go(Until::Event(seek_buffer.events + 1), stop, None)?;
        }
        // A file number above 0 marks a file that begins with a checkpoint.
        header.file = header.file.max(1);
        header.status = seek_buffer.history.status().clone();
    }
    let uncertainties =
        |seek_buffer: &SeekBuffer<R>| seek_buffer.pipeline.rules().coverage().uncertainties().len();
    let run = header.status.run;
    let output: Box<dyn Write> = Box::new(output);
    let begin = || -> io::Result<_> {
        let mut writer = Writer::new(output, header)?;
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
    // A new uncertainty that no loss record expresses is expressed by a missing end.
    let reason = if uncertainties(&seek_buffer) == before { Reason::Rotated } else { Reason::Broken };
    let writer = seek_buffer.copy.take().context("cannot write the dump")?;
    writer.finish(reason, 0, None).context("cannot write the dump")?;
    Ok(())
}
