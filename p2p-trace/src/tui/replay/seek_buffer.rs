//! Reads a dump up to a position, and keeps the state at that position.

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

/// The position to read up to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// Up to this event.
    Event(u64),
    /// Up to this time.
    Time(u64),
    /// To the end, including the results that are only known there.
    End,
}

pub(super) struct SeekBuffer<R> {
    pub(super) reader: RunReader<R>,
    pub(super) pipeline: Pipeline,
    pub(super) history: History,
    /// The current slice, and how many of its items were processed.
    waiting: Option<(Slice, usize)>,
    pub(super) events: u64,
    /// The time of the latest record.
    pub(super) reached_ns: u64,
    pub(super) end: Option<End>,
    /// Whether the state before the beginning of the dump was restored from a checkpoint.
    is_restored: bool,
    /// Receives a copy of everything that is read.
    pub(super) copy: Option<Writer<Box<dyn Write>>>,
}

impl<R: Read> SeekBuffer<R> {
    /// Creates the buffer and restores the state at the beginning of the dump.
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
            // The time before the first record is not shown.
            seek_buffer.reached_ns = seek_buffer.reached_ns.max(first.time_ns());
        }
        Ok(seek_buffer)
    }

    /// Reads on, and records steps and findings in `outline`.
    pub(super) fn go(&mut self, until: Until, stop: &Stop, mut outline: Option<&mut Outline>) -> Result<()> {
        while self.end.is_none() && !stop.is_set() {
            if matches!(until, Until::Event(wanted) if self.events >= wanted) {
                return Ok(());
            }
            let item = match self.waiting.take() {
                Some((slice, consumed)) => match self.part(slice, consumed, until) {
                    Some(part) => RunItem::Slice(part),
                    None => return Ok(()),
                },
                None => match self.reader.next_item()? {
                    Some(RunItem::Slice(slice)) => {
                        self.waiting = Some((slice, 0));
                        continue;
                    }
                    Some(item) => item,
                    None => return Ok(()),
                },
            };
            self.take(item, outline.as_deref_mut())?;
        }
        Ok(())
    }

    /// Returns the requested part of a slice, and stores the rest in `waiting`.
    fn part(&mut self, slice: Slice, consumed: usize, until: Until) -> Option<Slice> {
        let left = slice.items.get(consumed..).unwrap_or_default();
        let (count, is_later) = match until {
            Until::Event(_) => (left.len().min(1), false),
            Until::Time(time_ns) => {
                (left.partition_point(|item| item.time_ns() <= time_ns), slice.watermark_ns > time_ns)
            }
            Until::End => (left.len(), false),
        };
        if count == 0 && (is_later || !left.is_empty()) {
            self.waiting = Some((slice, consumed));
            return None;
        }
        if count == left.len() && consumed == 0 {
            return Some(slice);
        }
        let items = left.get(..count).unwrap_or_default().to_vec();
        let watermark_ns = if count == left.len() {
            slice.watermark_ns
        } else {
            items.last().map_or(self.reached_ns, Item::time_ns)
        };
        if count < left.len() {
            self.waiting = Some((slice, consumed + count));
        }
        Some(Slice { items, watermark_ns })
    }

    fn take(&mut self, item: RunItem, outline: Option<&mut Outline>) -> Result<()> {
        let time_ns = match &item {
            RunItem::Slice(slice) => slice.items.last().map(Item::time_ns),
            RunItem::Restore(checkpoint) => Some(checkpoint.head.time_ns),
            RunItem::Status(_) | RunItem::Diagnostics(_) | RunItem::Uncertainty(_) | RunItem::End(_) => None,
        };
        let lost_before = match &item {
            RunItem::Restore(checkpoint) => {
                let rules = &checkpoint.head.rules;
                Some(rules.lost_hot.count.saturating_add(rules.lost_rare.count))
            }
            _ => None,
        };
        let names = self.reader.names();
        let mut observer = Observer {
            history: &mut self.history,
            events: &mut self.events,
            names: &names,
            outline,
            copy: self.copy.as_mut(),
        };
        let is_damaged = self.reader.damaged() > 0;
        self.end = driver::take_in(item, is_damaged, &mut self.pipeline, &mut observer)?;
        if let Some(lost) = lost_before {
            self.is_restored = true;
            self.history.restore(self.pipeline.model(), lost, &names);
        }
        self.reached_ns = self.reached_ns.max(time_ns.unwrap_or(0));
        self.history.sample(&self.pipeline, self.reached_ns);
        Ok(())
    }
}

/// Updates the history and the outline.
struct Observer<'a> {
    history: &'a mut History,
    events: &'a mut u64,
    names: &'a Names,
    outline: Option<&'a mut Outline>,
    copy: Option<&'a mut Writer<Box<dyn Write>>>,
}

impl Sink for Observer<'_> {
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
        self.history.set_status(Arc::new(status.clone()));
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
        self.history.add_findings(&closing.rest, self.names);
        Ok(())
    }
}
