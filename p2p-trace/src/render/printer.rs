//! Everything that goes to stdout.

use std::io::{self, BufWriter, Write};

use p2p_trace_common::Kind;
use p2p_trace_model::{
    accounting::Status,
    event::{Symbolize, decode::decode, user},
    rules::{Finding, Verdict},
    stream::assemble::Element,
};

use crate::render::{
    Context,
    json::{EventLine, FindingLine, Line, LostLine, StatusLine, SummaryLine},
    text,
};

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// Lines for people.
    Text(text::Options),
    /// One JSON object per line: see docs/schema/live.schema.json.
    Json,
}

/// Writes the stream in one format.
pub(crate) struct Printer<'a, W: Write> {
    format: Format,
    context: Context<'a>,
    only_findings: bool,
    /// The highest number of a finding that was shown: they are new in the order of their numbers.
    shown: u32,
    out: BufWriter<&'a mut W>,
    /// The line in the making: it is made of many pieces, for which a vector is faster than a writer.
    line: Vec<u8>,
}

/// Bytes that are written at once, where there are so many.
const BUFFER: usize = 1 << 16;

impl<'a, W: Write> Printer<'a, W> {
    /// With `only_findings` it leaves out events, but not losses: they bear on what the findings are worth.
    pub(crate) fn new(format: Format, context: Context<'a>, only_findings: bool, out: &'a mut W) -> Self {
        Self {
            format,
            context,
            only_findings,
            shown: 0,
            out: BufWriter::with_capacity(BUFFER, out),
            line: Vec::new(),
        }
    }

    /// Names of the kernel's addresses.
    pub(crate) fn symbols(&self) -> &dyn Symbolize {
        self.context.symbols
    }

    /// When the session was opened, `CLOCK_BOOTTIME`.
    pub(crate) const fn start_ns(&self) -> u64 {
        self.context.clock.boottime_ns
    }

    /// The first status.
    pub(crate) fn status(&mut self, status: &Status, time_ns: u64) -> io::Result<()> {
        match self.format {
            Format::Text(options) => self.out.write_all(text::head(status, options.style).as_bytes()),
            Format::Json => {
                let line = StatusLine::new(status.clone(), &self.context.clock, time_ns);
                self.line(&Line::Status(Box::new(line)))
            }
        }
    }

    /// A status that has changed. In text the single changes are shown where they happen.
    pub(crate) fn changed(&mut self, status: &Status, time_ns: u64) -> io::Result<()> {
        self.context.update(status);
        match self.format {
            Format::Text(_) => Ok(()),
            Format::Json => self.status(status, time_ns),
        }
    }

    /// An element of the stream.
    pub(crate) fn element(&mut self, element: &Element) -> io::Result<()> {
        match (self.format, element) {
            (_, Element::Event(_) | Element::User(_)) if self.only_findings => Ok(()),
            // Read every second while a teardown is pending: nothing that happened.
            (Format::Text(_), Element::Event(event))
                if matches!(event.kind, Kind::RangeState | Kind::DeviceState) =>
            {
                Ok(())
            }
            (Format::Text(options), Element::Event(event)) => {
                self.out.write_all(text::event(event, &self.context, options).as_bytes())
            }
            (Format::Json, Element::Event(event)) => {
                self.line(&Line::Event(Box::new(EventLine::new(event, &self.context))))
            }
            (Format::Text(options), Element::Loss(loss)) => {
                self.out.write_all(text::loss(loss, &self.context.clock, options.style).as_bytes())
            }
            (Format::Json, Element::Loss(loss)) => {
                self.line(&Line::Lost(LostLine::new(loss, &self.context.clock)))
            }
            (Format::Text(options), Element::User(record)) if record.kind() == Some(Kind::Attach) => {
                let Some(change) = user::change(record) else {
                    return Ok(());
                };
                let time = self.context.clock.time_of_day(record.time_ns);
                let line = text::change(&time, change.hook, change.attached, options.style);
                self.out.write_all(line.as_bytes())
            }
            (Format::Json, Element::User(record)) if record.kind() == Some(Kind::Attach) => {
                let (Some(change), Ok(mut event)) = (user::change(record), decode(record)) else {
                    return Ok(());
                };
                event.flag = Some(change.attached);
                self.line(&Line::Event(Box::new(EventLine::new(&event, &self.context))))
            }
            (Format::Json, Element::User(record))
                if matches!(record.kind(), Some(Kind::Run | Kind::Pulled | Kind::Gone)) =>
            {
                decode(record).map_or(Ok(()), |event| {
                    self.line(&Line::Event(Box::new(EventLine::new(&event, &self.context))))
                })
            }
            (_, Element::User(_)) => Ok(()),
            (_, Element::Unknown(error)) => {
                tracing::warn!("{error}");
                Ok(())
            }
        }
    }

    /// Findings that are new or have changed by `told_ns`, `CLOCK_BOOTTIME`.
    pub(crate) fn findings(&mut self, findings: &[Finding], told_ns: u64) -> io::Result<()> {
        for finding in findings {
            let is_new = finding.number > self.shown;
            self.shown = self.shown.max(finding.number);
            match self.format {
                Format::Text(options) => {
                    let show = if is_new { text::finding } else { text::changed };
                    let text = show(finding, told_ns, &self.context, options);
                    self.out.write_all(text.as_bytes())?;
                }
                Format::Json => {
                    let line = FindingLine::new(finding, &self.context);
                    self.line(&Line::Finding(Box::new(line)))?;
                }
            }
        }
        Ok(())
    }

    /// What the rules came to.
    pub(crate) fn verdicts(&mut self, verdicts: &[Verdict]) -> io::Result<()> {
        match self.format {
            Format::Text(options) => self.out.write_all(text::verdicts(verdicts, options.style).as_bytes()),
            Format::Json => verdicts.iter().try_for_each(|verdict| self.line(&Line::Verdict(verdict.into()))),
        }
    }

    pub(crate) fn summary(&mut self, summary: &SummaryLine) -> io::Result<()> {
        match self.format {
            Format::Text(options) => self.out.write_all(text::summary(summary, options.style).as_bytes()),
            Format::Json => self.line(&Line::Summary(summary.clone())),
        }
    }

    /// Writes what has been kept back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}
