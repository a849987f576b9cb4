//! A dump through the [`Pipeline`]: the same elements, findings and verdicts as when it was recorded.

use std::{io::Read, time::Duration};

use anyhow::Result;
use p2p_trace_dump::{End, Footer, Tape, Told};
use p2p_trace_model::{accounting::Totals, pipeline::Pipeline, rules};

use super::{Ending, Next, Sink, diagnostics};

/// Plays a run to its end, or until the sink wants no more; says how it ended then.
pub(crate) fn play<R: Read>(
    tape: &mut Tape<R>,
    rules: rules::Options,
    sink: &mut impl Sink,
) -> Result<Option<End>> {
    let header = tape.header().clone();
    let mut pipeline = Pipeline::new(&header.status, rules, header.start_ns);
    sink.begin(&header.status)?;
    while let Some(told) = tape.next_told()? {
        let is_damaged = tape.damaged() > 0;
        if let Told::Diagnostics(said) = &told {
            diagnostics::show(said, Some(header.clock));
        }
        let end = take_in(told, is_damaged, &mut pipeline, sink)?;
        let next = sink.pause(&pipeline)?;
        if end.is_some() || next == Next::Break {
            return Ok(end);
        }
    }
    Ok(None)
}

/// Takes in what is told next, and lets the sink know; says how the run ended if that was the end. `is_damaged`: not all of
/// the dump could be read.
pub(crate) fn take_in(
    told: Told,
    is_damaged: bool,
    pipeline: &mut Pipeline,
    sink: &mut impl Sink,
) -> Result<Option<End>> {
    match told {
        Told::Restore(checkpoint) => checkpoint.restore(pipeline),
        Told::Slice(slice) => {
            sink.slice(&slice)?;
            pipeline.advance(&slice, |step| sink.step(step))?;
        }
        Told::Status(change) => {
            sink.changed(&change.status, change.time_ns)?;
            pipeline.update(&change.status);
        }
        Told::Diagnostics(said) => sink.diagnostics(&said)?,
        Told::Doubt(why) => pipeline.doubt(why),
        Told::End(end) => {
            let (totals, duration_ns) = match end.as_ref() {
                End::Whole(Footer { totals, duration_ns, .. }) => (totals.clone(), *duration_ns),
                End::GoesOn | End::CutOff => (None, 0),
            };
            let is_whole = totals.is_some();
            let mut closing = pipeline.close(&totals.clone().unwrap_or_default());
            if !is_whole || is_damaged {
                // They compare what was delivered with what the kernel counted: here it is the dump that lacks.
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
