//! Two sinks for one session.

use anyhow::Result;
use p2p_trace_model::{
    accounting::Status,
    pipeline::{Closing, Pipeline, Slice, Step},
    stream::Diagnostic,
    text::Text,
};

use super::{Ending, Next, Sink};

/// Passes everything to both sinks, to the first one first. The second one is optional.
pub(crate) struct Tee<'a, A, B> {
    pub(crate) first: &'a mut A,
    pub(crate) second: Option<&'a mut B>,
}

impl<A: Sink, B: Sink> Tee<'_, A, B> {
    fn second(&mut self, call: impl FnOnce(&mut B) -> Result<()>) -> Result<()> {
        self.second.as_deref_mut().map_or(Ok(()), call)
    }
}

impl<A: Sink, B: Sink> Sink for Tee<'_, A, B> {
    fn begin(&mut self, status: &Status) -> Result<()> {
        self.first.begin(status)?;
        self.second(|sink| sink.begin(status))
    }

    fn changed(&mut self, status: &Status, time_ns: u64) -> Result<()> {
        self.first.changed(status, time_ns)?;
        self.second(|sink| sink.changed(status, time_ns))
    }

    fn slice(&mut self, slice: &Slice) -> Result<()> {
        self.first.slice(slice)?;
        self.second(|sink| sink.slice(slice))
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.first.step(step)?;
        self.second(|sink| sink.step(step))
    }

    fn diagnostics(&mut self, diagnostics: &[Diagnostic]) -> Result<()> {
        self.first.diagnostics(diagnostics)?;
        self.second(|sink| sink.diagnostics(diagnostics))
    }

    fn name(&self, address: u64) -> Option<Text> {
        let second = || self.second.as_deref()?.name(address);
        self.first.name(address).or_else(second)
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        let first = self.first.pause(pipeline)?;
        let second = match &mut self.second {
            Some(sink) => sink.pause(pipeline)?,
            None => Next::Go,
        };
        Ok(match (first, second) {
            (Next::Break, _) | (_, Next::Break) => Next::Break,
            (Next::Snapshot, _) | (_, Next::Snapshot) => Next::Snapshot,
            (Next::Go, Next::Go) => Next::Go,
        })
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        let first = self.first.end(closing, ending);
        // Even if the first sink fails, such as on a closed terminal, the dump gets its end.
        self.second(|sink| sink.end(closing, ending))?;
        first
    }
}
