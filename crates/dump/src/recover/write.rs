//! Writes recovered records as an ordinary dump, alone or after the recorded dump of the same run.

use std::io::{self, Read, Write};

use p2p_trace_common::{Record, hook::HOOK_SLOTS};
use p2p_trace_model::{
    accounting::{Position, Shortfalls, Totals},
    event::{Loss, user},
    pipeline::Slice,
    stream::{Batch, order::Order},
};

use super::{
    crash_image::CpuCounters,
    ring::{Heads, Recovered, ring_of},
};
use crate::{
    End, Origin, ReadError, Reason, RunItem, RunReader, Writer,
    export::{named, record_of},
    recover::header::{Beginning, heads},
};

/// Result of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of records from the core.
    pub recovered: u64,
    /// Number of records from the recorded dump.
    pub recorded: u64,
    /// Number of missing records, among those that the core should have.
    pub lost: u64,
    /// True if the core has the counts of all records, so that no missing record goes unnoticed.
    pub is_counted: bool,
    /// The dump begins with a checkpoint of this time, `CLOCK_BOOTTIME` in nanoseconds: older records were
    /// overwritten.
    pub begins_ns: Option<u64>,
    /// Number of references that the checkpoint lists without a holder, since it had no room for more.
    pub omitted: u64,
}

/// Why writing failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The new dump cannot be written.
    #[error("cannot write the dump")]
    Write(#[from] io::Error),
    /// The recorded dump cannot be read.
    #[error("cannot read the recorded dump")]
    Read(#[from] ReadError),
    /// The two belong to different runs.
    #[error("the recorded dump is of run {recorded:016x}, and the core has no record of that run")]
    OtherRun {
        /// The run of the recorded dump.
        recorded: u64,
    },
}

/// Writes the dump of a run from the core alone.
///
/// # Errors
///
/// If `out` cannot be written to.
pub fn write(run: &Recovered, beginning: &Beginning, out: impl Write) -> Result<Written, WriteError> {
    let mut header = beginning.header.clone();
    if beginning.checkpoint.is_some() {
        // The file before is lost.
        header.file = 1;
    }
    let cpus = header.status.cpus;
    let mut writer = Writer::new(out, header)?;
    for (address, name) in &beginning.names {
        writer.symbol(*address, name)?;
    }
    let mut written = Written::default();
    let tail = match &beginning.checkpoint {
        Some(checkpoint) => {
            writer.checkpoint(checkpoint)?;
            let from_ns = checkpoint.head.reached_ns;
            written.begins_ns = Some(from_ns);
            written.omitted = checkpoint.head.omitted;
            // The records before were selected by time: an interrupted record can be younger than its
            // successor.
            let is_new = |record: &Record| record.time_ns >= from_ns;
            Tail::of(run, is_new, &heads(run, checkpoint), from_ns, cpus)
        }
        None => Tail::of(run, |_| true, &Heads::new(), 0, cpus),
    };
    tail.write(&mut writer, &mut written)?;
    tail.finish(writer, beginning.header.start_ns, written)
}

/// Writes a recorded dump, followed by the records that only the core has.
///
/// # Errors
///
/// If the dump is of another run or cannot be read, or `out` cannot be written to.
pub fn append<R: Read>(
    run: &Recovered,
    reader: &mut RunReader<R>,
    out: impl Write,
) -> Result<Written, WriteError> {
    let mut header = reader.header().clone();
    let recorded = header.status.run;
    if recorded != run.run {
        return Err(WriteError::OtherRun { recorded });
    }
    header.origin = Origin::Recovered;
    let (start_ns, mut cpus) = (header.start_ns, header.status.cpus);
    let names = reader.names();
    let mut writer = Writer::new(out, header)?;
    let (mut next, mut next_of_user) = (Heads::new(), 0);
    let mut written = Written::default();
    while let Some(item) = reader.next_item()? {
        match item {
            RunItem::Restore(checkpoint) => {
                named(&mut writer, &names, &checkpoint.records)?;
                writer.checkpoint(&checkpoint)?;
            }
            RunItem::Slice(slice) if slice.items.is_empty() => {}
            RunItem::Slice(slice) => {
                let records: Vec<_> = slice.items.iter().filter_map(record_of).collect();
                for record in &records {
                    let place = if record.cpu == user::CPU {
                        &mut next_of_user
                    } else {
                        next.entry(run.ring(record.cpu, ring_of(record))).or_default()
                    };
                    *place = (*place).max(position(record) + 1);
                }
                written.recorded += records.len() as u64;
                named(&mut writer, &names, &records)?;
                writer.slice(&slice)?;
            }
            RunItem::Status(change) => {
                cpus = cpus.max(change.status.cpus);
                writer.status(&change.status, change.time_ns)?;
            }
            RunItem::Diagnostics(messages) => writer.diagnostics(messages)?,
            RunItem::Uncertainty(why) => tracing::warn!("the recorded dump: {why}"),
            RunItem::End(end) => {
                if matches!(*end, End::Complete(_)) {
                    tracing::warn!("the recorded dump is complete: the core can add nothing to it");
                }
            }
        }
    }
    let is_new = |record: &Record| {
        let from = if record.cpu == user::CPU {
            next_of_user
        } else {
            next.get(&run.ring(record.cpu, ring_of(record))).copied().unwrap_or(0)
        };
        position(record) >= from
    };
    let tail = Tail::of(run, is_new, &next, 0, cpus);
    tail.write(&mut writer, &mut written)?;
    tail.finish(writer, start_ns, written)
}

const fn position(record: &Record) -> u64 {
    if record.cpu == user::CPU { record.seq } else { p2p_trace_common::Ring::of_sequence(record.seq).1 }
}

/// The records of the core that follow everything known from elsewhere.
struct Tail<'a> {
    run: &'a Recovered,
    records: Vec<Record>,
    losses: Vec<Loss>,
    /// True if the counters of every CPU were found.
    is_counted: bool,
}

impl<'a> Tail<'a> {
    /// The new records, and the losses from `next` on, which happened at `from_ns` or later.
    fn of(
        run: &'a Recovered,
        is_new: impl Fn(&Record) -> bool,
        next: &Heads,
        from_ns: u64,
        cpus: u32,
    ) -> Self {
        // In the stream, records of user space have no position in a ring.
        let as_written = |record: &Record| Record {
            guard: if record.cpu == user::CPU { 0 } else { record.guard },
            ..*record
        };
        let later =
            |loss: Loss| Loss { from_ns: loss.from_ns.max(from_ns), to_ns: loss.to_ns.max(from_ns), ..loss };
        Self {
            run,
            records: run.records.iter().filter(|record| is_new(record)).map(as_written).collect(),
            losses: run.losses(next).into_iter().map(later).collect(),
            is_counted: cpus > 0 && run.counters.len() >= run.sharing.rings(cpus) as usize,
        }
    }

    fn write<W: Write>(&self, writer: &mut Writer<W>, written: &mut Written) -> io::Result<()> {
        written.recovered = self.records.len() as u64;
        written.lost = self.losses.iter().map(Loss::count).sum();
        written.is_counted = self.is_counted;
        let batch = Batch {
            records: self.records.clone(),
            losses: self.losses.clone(),
            watermark_ns: u64::MAX,
            ..Batch::default()
        };
        writer.slice(&Slice::of(&mut Order::new(), &batch))
    }

    fn finish<W: Write>(
        &self,
        writer: Writer<W>,
        start_ns: u64,
        written: Written,
    ) -> Result<Written, WriteError> {
        let reason = if self.is_counted { Reason::End } else { Reason::Broken };
        let totals = self.is_counted.then(|| totals(self.run));
        let mut out = writer.finish(reason, self.run.last_ns().saturating_sub(start_ns), totals)?;
        out.flush()?;
        Ok(written)
    }
}

/// The kernel's counters when it stopped. They do not include missed runs.
fn totals(run: &Recovered) -> Totals {
    let counters = &run.counters;
    let sum = |of: fn(&CpuCounters) -> u64| counters.iter().map(of).sum::<u64>();
    let mut hits = vec![0; HOOK_SLOTS];
    for counters in counters {
        for (sum, hits) in hits.iter_mut().zip(&counters.hits) {
            *sum += hits;
        }
    }
    Totals {
        hits,
        missed: vec![None; HOOK_SLOTS],
        dropped: sum(|counters| counters.dropped.iter().sum()),
        shortfalls: Shortfalls {
            notes_full: sum(|counters| counters.notes_full),
            notes_missing: sum(|counters| counters.notes_missing),
            bursts_late: sum(|counters| counters.bursts_late),
        },
        positions: super::crash_image::heads(counters)
            .into_iter()
            .map(|((cpu, ring), head)| Position { cpu, ring, head })
            .collect(),
        shared: run.sharing.shared(),
    }
}
