//! Export of a run's files as one dump: joined, without damaged or repeated parts, and redacted if the reader
//! is.

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

/// Result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records and losses.
    pub items: u64,
    /// False if the input was cut off: the run neither ended nor continues in another file.
    pub is_ended: bool,
}

/// Why an export failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The new dump cannot be written.
    #[error("cannot write the dump")]
    Write(#[from] io::Error),
    /// The original dump cannot be read.
    #[error("cannot read the dump")]
    Read(#[from] ReadError),
}

/// Writes everything that `reader` delivers as one dump, for which the rules give the same answers.
///
/// # Errors
///
/// If a file of the run cannot be read, or `out` cannot be written to.
pub fn export<R: Read>(reader: &mut RunReader<R>, out: impl Write) -> Result<Exported, ExportError> {
    let names = reader.names();
    let mut writer = Writer::new(out, reader.header().clone())?;
    let mut exported = Exported::default();
    let mut is_missing = false;
    while let Some(item) = reader.next_item()? {
        // A reader finds the uncertainty again where the counts are not consecutive; a broken end implies it.
        let is_implied = matches!(&item, RunItem::Uncertainty(_))
            || matches!(&item, RunItem::End(end) if **end == End::CutOff);
        if is_missing && !is_implied {
            is_missing = false;
            writer.gap()?;
        }
        match item {
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
            RunItem::Diagnostics(messages) => writer.diagnostics(messages)?,
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

/// Gives the writer the names that the records need.
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
