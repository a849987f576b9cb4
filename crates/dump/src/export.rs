//! One dump of the files of a run: joined, without what was damaged or there twice, and redacted if the tape is.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
};

use p2p_trace_common::Record;
use p2p_trace_model::{
    event::{Names, Symbolize as _, decode},
    stream::order::Item,
};

use super::{
    describe::Reason,
    reader::ReadError,
    run_reader::{End, RunItem, RunReader},
    writer::Writer,
};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records and losses.
    pub items: u64,
    /// The dump ends where the run does, or goes on: not where it was cut off.
    pub is_ended: bool,
}

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The new dump cannot be written to.
    #[error("cannot write the dump")]
    Write(#[from] io::Error),
    /// The other one cannot be read.
    #[error("cannot read the dump")]
    Read(#[from] ReadError),
}

/// Writes all that `reader` tells as one dump, of which the rules come to the same.
///
/// # Errors
///
/// When a file of the run cannot be read, or `out` cannot be written to.
pub fn export<R: Read>(reader: &mut RunReader<R>, out: impl Write) -> Result<Exported, ExportError> {
    let names = reader.names();
    let mut writer = Writer::new(out, reader.header().clone())?;
    let mut exported = Exported::default();
    let mut is_missing = false;
    while let Some(told) = reader.next_item()? {
        // A doubt is told where the counts do not follow each other; at a broken end it is told by itself.
        let tells_by_itself = matches!(&told, RunItem::Uncertainty(_))
            || matches!(&told, RunItem::End(end) if **end == End::CutOff);
        if is_missing && !tells_by_itself {
            is_missing = false;
            writer.gap()?;
        }
        match told {
            RunItem::Restore(checkpoint) => {
                named(&mut writer, &names, &checkpoint.records)?;
                writer.checkpoint(&checkpoint)?;
            }
            RunItem::Slice(slice) => {
                let records: Vec<_> = slice.items.iter().filter_map(record_of).collect();
                named(&mut writer, &names, &records)?;
                exported.items += slice.items.len() as u64;
                writer.slice(&slice)?;
            }
            RunItem::Status(change) => writer.status(&change.status, change.time_ns)?,
            RunItem::Diagnostics(said) => writer.diagnostics(said)?,
            RunItem::Uncertainty(_) => is_missing = true,
            RunItem::End(end) => {
                let (reason, duration_ns, totals) = match *end {
                    End::Complete(footer) => (Reason::End, footer.duration_ns, footer.totals),
                    End::Continues => (Reason::Rotated, 0, None),
                    End::CutOff => (Reason::Broken, 0, None),
                };
                exported.is_ended = reason != Reason::Broken;
                writer.end(reason, duration_ns, totals)?;
            }
        }
    }
    Ok(exported)
}

pub(crate) const fn record_of(item: &Item) -> Option<Record> {
    match item {
        Item::Record(record) => Some(*record),
        Item::Loss(_) => None,
    }
}

/// Gives the writer the names that records need.
pub(crate) fn named<W: Write>(writer: &mut Writer<W>, names: &Names, records: &[Record]) -> io::Result<()> {
    let mut known = HashMap::new();
    for record in records {
        let Ok(event) = decode::decode(record) else {
            continue;
        };
        for address in event.caller.into_iter().chain(event.stack) {
            known.entry(address).or_insert_with(|| names.symbolize(address));
        }
    }
    for (address, name) in known {
        if let Some(name) = name {
            writer.symbol(address, &name)?;
        }
    }
    Ok(())
}
