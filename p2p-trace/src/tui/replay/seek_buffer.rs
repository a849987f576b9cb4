//! A dump that is being read, and what it has come to.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{End, RunItem, RunReader, Writer};
use p2p_trace_model::{
    accounting::Status,
    event::Names,
    pipeline::{Closing, Pipeline, Slice, Step},
    state::ChangeKind,
    stream::{assemble::Element, order::Item},
};

use super::{super::history::History, outline::Outline};
use crate::run::{self as driver, Ending, Sink, stop::Stop};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// Up to this event.
    Event(u64),
    /// Up to this time.
    Time(u64),
    /// To the end, and what is known there only.
    End,
}

pub(super) struct SeekBuffer<R> {
    pub(super) reader: RunReader<R>,
    pub(super) pipeline: Pipeline,
    pub(super) history: History,
    /// What of the tape is next, and how much of it was taken.
    waiting: Option<(Slice, usize)>,
    pub(super) events: u64,
    /// Time of the latest record.
    pub(super) reached_ns: u64,
    pub(super) end: Option<End>,
    /// What was before the dump begins is known.
    is_restored: bool,
    /// What is read is written there, too.
    pub(super) copy: Option<Writer<Box<dyn Write>>>,
}

impl<R: Read> SeekBuffer<R> {
    /// Reads what was true when the dump begins.
    pub(super) fn new(reader: RunReader<R>) -> Result<Self> {
        let header = reader.header();
        let status = Arc::new(header.status.clone());
        let mut seek_buffer = Self {
            pipeline: Pipeline::new(&header.status, header.rules(), header.start_ns),
            history: History::new(status, header.clock, reader.names()),
            waiting: None,
            events: 0,
            reached_ns: header.start_ns,
            end: None,
            is_restored: false,
            copy: None,
            reader,
        };
        seek_buffer.go(Until::Time(0), &Stop::default(), None)?;
        if seek_buffer.reader.header().file > 0
            && !seek_buffer.is_restored
            && let Some(first) = seek_buffer.waiting.as_ref().and_then(|(slice, _)| slice.items.first())
        {
            // Of what was before nothing is shown.
            seek_buffer.reached_ns = seek_buffer.reached_ns.max(first.time_ns());
        }
        Ok(seek_buffer)
    }

    /// Goes on, and notes in `outline` what it passes.
    pub(super) fn go(&mut self, until: Until, stop: &Stop, mut outline: Option<&mut Outline>) -> Result<()> {
        while self.end.is_none() && !stop.is_set() {
            if matches!(until, Until::Event(wanted) if self.events >= wanted) {
                return Ok(());
            }
            let told = match self.waiting.take() {
                Some((slice, allocated)) => match self.part(slice, allocated, until) {
                    Some(part) => RunItem::Slice(part),
                    None => return Ok(()),
                },
                None => match self.reader.next_item()? {
                    Some(RunItem::Slice(slice)) => {
                        self.waiting = Some((slice, 0));
                        continue;
                    }
                    Some(told) => told,
                    None => return Ok(()),
                },
            };
            self.take(told, outline.as_deref_mut())?;
        }
        Ok(())
    }

    /// What of a slice is wanted; the rest waits.
    fn part(&mut self, slice: Slice, allocated: usize, until: Until) -> Option<Slice> {
        let left = slice.items.get(allocated..).unwrap_or_default();
        let (count, is_later) = match until {
            Until::Event(_) => (left.len().min(1), false),
            Until::Time(time_ns) => {
                (left.partition_point(|item| item.time_ns() <= time_ns), slice.watermark_ns > time_ns)
            }
            Until::End => (left.len(), false),
        };
        if count == 0 && (is_later || !left.is_empty()) {
            self.waiting = Some((slice, allocated));
            return None;
        }
        if count == left.len() && allocated == 0 {
            return Some(slice);
        }
        let items = left.get(..count).unwrap_or_default().to_vec();
        let watermark_ns = if count == left.len() {
            slice.watermark_ns
        } else {
            items.last().map_or(self.reached_ns, Item::time_ns)
        };
        if count < left.len() {
            self.waiting = Some((slice, allocated + count));
        }
        Some(Slice { items, watermark_ns })
    }

    fn take(&mut self, told: RunItem, outline: Option<&mut Outline>) -> Result<()> {
        let time_ns = match &told {
            RunItem::Slice(slice) => slice.items.last().map(Item::time_ns),
            RunItem::Restore(checkpoint) => Some(checkpoint.head.time_ns),
            RunItem::Status(_) | RunItem::Diagnostics(_) | RunItem::Uncertainty(_) | RunItem::End(_) => None,
        };
        let lost_before = match &told {
            RunItem::Restore(checkpoint) => {
                let judged = &checkpoint.head.rules;
                Some(judged.lost_hot.count.saturating_add(judged.lost_rare.count))
            }
            _ => None,
        };
        let names = self.reader.names();
        let mut onlooker = Onlooker {
            history: &mut self.history,
            events: &mut self.events,
            names: &names,
            outline,
            copy: self.copy.as_mut(),
        };
        let is_damaged = self.reader.damaged() > 0;
        self.end = driver::take_in(told, is_damaged, &mut self.pipeline, &mut onlooker)?;
        if let Some(lost) = lost_before {
            self.is_restored = true;
            self.history.meet(self.pipeline.model(), lost, &names);
        }
        self.reached_ns = self.reached_ns.max(time_ns.unwrap_or(0));
        self.history.count(&self.pipeline, self.reached_ns);
        Ok(())
    }
}

/// Keeps what is for the screen, and notes where what is.
struct Onlooker<'a> {
    history: &'a mut History,
    events: &'a mut u64,
    names: &'a Names,
    outline: Option<&'a mut Outline>,
    copy: Option<&'a mut Writer<Box<dyn Write>>>,
}

impl Sink for Onlooker<'_> {
    fn slice(&mut self, slice: &Slice) -> Result<()> {
        match &mut self.copy {
            Some(copy) => copy.slice(slice).context("cannot write the dump"),
            None => Ok(()),
        }
    }

    fn changed(&mut self, status: &Status, time_ns: u64) -> Result<()> {
        if let Some(copy) = &mut self.copy {
            copy.status(status, time_ns).context("cannot write the dump")?;
        }
        self.history.changed(Arc::new(status.clone()));
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        *self.events += u64::from(matches!(step.element, Element::Event(_)));
        self.history.step(step, self.names);
        let Some(outline) = &mut self.outline else {
            return Ok(());
        };
        let mut changes = step.model.changes().iter();
        if changes.any(|change| change.kind == ChangeKind::Step) {
            outline.steps.push(*self.events);
        }
        if !step.findings.is_empty() {
            outline.findings.push(*self.events);
        }
        Ok(())
    }

    fn end(&mut self, closing: &Closing, _ending: &Ending) -> Result<()> {
        self.history.found(&closing.rest, self.names);
        Ok(())
    }
}
