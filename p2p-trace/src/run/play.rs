//! Plays a dump through the [`Pipeline`]: the elements, findings and verdicts are those of the recorded run.

use std::{io::Read, time::Duration};

use anyhow::Result;
use p2p_trace_dump::{End, Footer, RunItem, RunReader};
use p2p_trace_model::{accounting::Totals, pipeline::Pipeline, rules};

use super::{Ending, Next, Sink};

/// Plays a run to its end, or until the sink returns [`Next::Break`]. Returns how the run ended, if it did.
pub(crate) fn play<R: Read>(
    reader: &mut RunReader<R>,
    rules: rules::Options,
    sink: &mut impl Sink,
) -> Result<Option<End>> {
    let header = reader.header().clone();
    let mut pipeline = Pipeline::new(&header.status, rules, header.start_ns);
    sink.begin(&header.status)?;
    while let Some(item) = reader.next_item()? {
        let is_damaged = reader.damaged() > 0;
        if let RunItem::Diagnostics(diagnostics) = &item {
            super::diagnostics::show(diagnostics, Some(header.clock));
        }
        let end = take_in(item, is_damaged, &mut pipeline, sink)?;
        let next = sink.pause(&pipeline)?;
        if end.is_some() || next == Next::Break {
            return Ok(end);
        }
    }
    Ok(None)
}

/// Applies one item and passes it to the sink. Returns how the run ended, if the item is its end. `is_damaged`: parts of the dump
/// could not be read.
pub(crate) fn take_in(
    item: RunItem,
    is_damaged: bool,
    pipeline: &mut Pipeline,
    sink: &mut impl Sink,
) -> Result<Option<End>> {
    match item {
        RunItem::Restore(checkpoint) => checkpoint.restore(pipeline),
        RunItem::Slice(slice) => {
            sink.slice(&slice)?;
            pipeline.advance(&slice, |step| sink.step(step))?;
        }
        RunItem::Status(change) => {
            sink.changed(&change.status, change.time_ns)?;
            pipeline.update(&change.status);
        }
        RunItem::Diagnostics(diagnostics) => sink.diagnostics(&diagnostics)?,
        RunItem::Uncertainty(why) => pipeline.mark_uncertain(why),
        RunItem::End(end) => {
            let (totals, duration_ns) = match end.as_ref() {
                End::Complete(Footer { totals, duration_ns, .. }) => (totals.clone(), *duration_ns),
                End::Continues | End::CutOff => (None, 0),
            };
            let is_whole = totals.is_some();
            let mut closing = pipeline.close(&totals.clone().unwrap_or_default());
            if !is_whole || is_damaged {
                // They compare delivered records with the kernel's counts, but here records are missing from the dump.
                closing.outcome.contradictions.clear();
            }
            let ending = Ending {
                totals: totals.unwrap_or_else(Totals::default),
                duration: Duration::from_nanos(duration_ns),
                is_whole,
            };
            sink.end(&closing, &ending)?;
            return Ok(Some(*end));
        }
    }
    Ok(None)
}
