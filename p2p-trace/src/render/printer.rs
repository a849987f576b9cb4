//! Output to stdout.

use std::{io, time::Duration};

use p2p_trace_common::Kind;
use p2p_trace_model::{
    accounting::Status,
    event::{Event, Symbolize, decode::decode, user},
    rules::{Finding, Verdict},
    stream::assemble::Element,
};

use crate::render::{
    Context,
    json::{
        Envelope, EnvelopeBytes, EventLine, FindingLine, Frequent, Line, LostLine, NamesLine, StatusLine,
        SummaryLine, Timed, UnshownLine, VerdictLine,
    },
    line_sink::LineSink,
    text,
};

/// Output format.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// Lines for people.
    Text(text::Options),
    /// One JSON object per line: see docs/schema/live.schema.json.
    Json,
}

/// Writes the stream in one format.
pub(crate) struct Printer<'a> {
    format: Format,
    context: Context<'a>,
    envelope: EnvelopeBytes,
    only_findings: bool,
    /// The highest number of a shown finding: new findings have increasing numbers.
    shown: u32,
    /// Time of the latest element.
    latest_ns: u64,
    out: &'a mut dyn LineSink,
    /// Lines that are not yet passed to the sink.
    lines: Vec<u8>,
    /// Events omitted since the last shown one, with the times of the first and the last.
    unshown: Option<Unshown>,
    frequent: Frequent,
    /// Generation of the names at the last lookup of missing ones.
    generation: u64,
}

/// Omitted events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unshown {
    pub(crate) events: u64,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

/// Lines are passed to the sink at this size.
const BUFFER: usize = 1 << 16;
/// Timeout for missing names at the end.
const SETTLE: Duration = Duration::from_secs(2);

impl<'a> Printer<'a> {
    /// With `only_findings` it omits events, but not losses, because findings depend on them.
    pub(crate) fn new(
        format: Format,
        context: Context<'a>,
        envelope: &Envelope,
        only_findings: bool,
        out: &'a mut dyn LineSink,
    ) -> Self {
        Self {
            format,
            envelope: envelope.to_bytes(),
            only_findings,
            shown: 0,
            latest_ns: context.clock.boottime_ns,
            context,
            out,
            lines: Vec::with_capacity(BUFFER),
            unshown: None,
            frequent: Frequent::default(),
            generation: 0,
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
            Format::Text(options) => self.text(&text::head(status, options.style)),
            Format::Json => {
                let line = StatusLine::new(status, &self.context.clock, time_ns);
                self.line(&Line::Status(Box::new(line)))
            }
        }
    }

    /// A changed status. Text shows individual changes in place.
    pub(crate) fn changed(&mut self, status: &Status, time_ns: u64) -> io::Result<()> {
        self.context.update(status);
        match self.format {
            Format::Text(_) => Ok(()),
            Format::Json => self.status(status, time_ns),
        }
    }

    /// An element of the stream.
    pub(crate) fn element(&mut self, element: &Element) -> io::Result<()> {
        self.latest_ns = self.latest_ns.max(time_of(element));
        match (self.format, element) {
            (_, Element::Event(_) | Element::User(_)) if self.only_findings => Ok(()),
            // Read every second while a teardown is pending; not an event by itself.
            (Format::Text(_), Element::Event(event))
                if matches!(event.kind, Kind::RangeState | Kind::DeviceState) =>
            {
                Ok(())
            }
            (_, Element::Event(event)) => self.event(event),
            (Format::Text(options), Element::Loss(loss)) => {
                self.text(&text::loss(loss, &self.context.clock, options.style))
            }
            (Format::Json, Element::Loss(loss)) => {
                self.line(&Line::Lost(LostLine::new(loss, &self.context.clock)))
            }
            (Format::Text(options), Element::User(record)) if record.kind() == Some(Kind::Attach) => {
                let Some(change) = user::change(record) else {
                    return Ok(());
                };
                let time = self.context.clock.time_of_day(record.time_ns);
                self.text(&text::change(&time, change.hook, change.attached, options.style))
            }
            (Format::Json, Element::User(record)) if record.kind() == Some(Kind::Attach) => {
                let (Some(change), Ok(mut event)) = (user::change(record), decode(record)) else {
                    return Ok(());
                };
                event.flag = Some(change.attached);
                self.line(&Line::Event(Box::new(EventLine::new(&event, &self.context))))
            }
            (Format::Json, Element::User(record))
                if matches!(
                    record.kind(),
                    Some(Kind::AllocatedRun | Kind::SnapshotEnd | Kind::HolderExited)
                ) =>
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

    /// An event can be omitted if the reader is too slow.
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if !self.out.has_room() {
            let unshown = self.unshown.get_or_insert(Unshown {
                events: 0,
                from_ns: event.time_ns,
                to_ns: event.time_ns,
            });
            unshown.events += 1;
            unshown.to_ns = event.time_ns;
            return Ok(());
        }
        self.write_unshown()?;
        match self.format {
            Format::Text(options) => self.text(&text::event(event, &self.context, options)),
            Format::Json if self.frequent.write(&mut self.lines, event, &self.context, &self.envelope)? => {
                self.lines.push(b'\n');
                self.limit()
            }
            Format::Json => self.line(&Line::Event(Box::new(EventLine::new(event, &self.context)))),
        }
    }

    /// Findings that are new or have changed by `reported_ns`, `CLOCK_BOOTTIME`. They are passed to the sink at once.
    pub(crate) fn findings(&mut self, findings: &[Finding], reported_ns: u64) -> io::Result<()> {
        for finding in findings {
            // A finding that is withdrawn before it was shown is only shown as withdrawn.
            let is_new = finding.number > self.shown && finding.withdrawn.is_none();
            self.shown = self.shown.max(finding.number);
            match self.format {
                Format::Text(options) => {
                    let show = if is_new { text::finding } else { text::changed };
                    self.text(&show(finding, reported_ns, &self.context, options))?;
                }
                Format::Json => {
                    let line = self.timed(FindingLine::new(finding, &self.context), reported_ns);
                    self.line(&Line::Finding(Box::new(line)))?;
                }
            }
        }
        if findings.is_empty() { Ok(()) } else { self.pass_on() }
    }

    /// The results of the rules for a run that ended at `ended_ns`.
    pub(crate) fn verdicts(&mut self, verdicts: &[Verdict], ended_ns: u64) -> io::Result<()> {
        match self.format {
            Format::Text(options) => self.text(&text::verdicts(verdicts, options.style)),
            Format::Json => verdicts.iter().try_for_each(|verdict| {
                let line = self.timed(VerdictLine::from(verdict), ended_ns);
                self.line(&Line::Verdict(line))
            }),
        }
    }

    /// The counts of a run that ended at `ended_ns`.
    pub(crate) fn summary(&mut self, summary: &SummaryLine, ended_ns: u64) -> io::Result<()> {
        match self.format {
            Format::Text(options) => self.text(&text::summary(summary, options.style)),
            Format::Json => {
                let line = self.timed(summary.clone(), ended_ns);
                self.line(&Line::Summary(line))
            }
        }
    }

    /// Writes buffered lines, and names that were missing.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.write_names()?;
        self.pass_on()
    }

    /// After this, no event can be omitted and no name be missing.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if self.context.lacks_names() {
            self.context.symbols.settle(SETTLE);
            self.write_names()?;
        }
        self.write_unshown()
    }

    /// Names of addresses that earlier lines show without one.
    fn write_names(&mut self) -> io::Result<()> {
        let generation = self.context.symbols.generation();
        if generation == self.generation {
            return Ok(());
        }
        self.generation = generation;
        let found = self.context.found_names();
        match self.format {
            _ if found.is_empty() => Ok(()),
            Format::Text(options) => self.text(&text::names(&found, options.style)),
            Format::Json => {
                let line = self.timed(NamesLine::from(found), self.latest_ns);
                self.line(&Line::Names(line))
            }
        }
    }

    fn write_unshown(&mut self) -> io::Result<()> {
        let Some(unshown) = self.unshown.take() else { return Ok(()) };
        match self.format {
            Format::Text(options) => self.text(&text::unshown(&unshown, &self.context.clock, options.style)),
            Format::Json => self.line(&Line::Unshown(UnshownLine::new(&unshown, &self.context.clock))),
        }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.lines.extend_from_slice(text.as_bytes());
        self.limit()
    }

    fn timed<T>(&self, line: T, time_ns: u64) -> Timed<T> {
        Timed::new(line, time_ns, &self.context.clock)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.envelope.write(&mut self.lines, line)?;
        self.lines.push(b'\n');
        self.limit()
    }

    fn limit(&mut self) -> io::Result<()> {
        if self.lines.len() < BUFFER { Ok(()) } else { self.pass_on() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.lines.is_empty() { Ok(()) } else { self.out.take(&mut self.lines) }
    }
}

/// When an element happened; 0 if it cannot be decoded.
const fn time_of(element: &Element) -> u64 {
    match element {
        Element::Event(event) => event.time_ns,
        Element::Loss(loss) => loss.to_ns,
        Element::User(record) => record.time_ns,
        Element::Unknown(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;
    use p2p_trace_common::{Hook, Record};
    use p2p_trace_model::{
        event::Names,
        testing::status::{CLOCK, status},
    };

    /// A sink that has room or not.
    #[derive(Default)]
    struct Pipe {
        text: String,
        is_full: bool,
    }

    impl LineSink for Pipe {
        fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
            self.text.push_str(std::str::from_utf8(lines).unwrap());
            lines.clear();
            Ok(())
        }

        fn has_room(&self) -> bool {
            !self.is_full
        }
    }

    fn printed(
        format: Format,
        names: &Names,
        pipe: &mut Pipe,
        print: impl FnOnce(&mut Printer<'_>),
    ) -> String {
        let context = Context::new(CLOCK, &status(), names);
        let mut printer = Printer::new(format, context, &Envelope::new(None, &status()), false, pipe);
        print(&mut printer);
        printer.flush().unwrap();
        drop(printer);
        std::mem::take(&mut pipe.text)
    }

    fn allocated() -> Event {
        let record = Record { kind: Kind::Alloc as u8, hook: Hook::Alloc as u8, ..user::blank(1) };
        Event { caller: Some(0xffff_ffff_c000_0010), ..decode(&record).unwrap() }
    }

    const TEXT: Format = Format::Text(text::Options { style: text::Style { color: false }, stacks: false });

    #[test]
    fn missing_name_follows_once() {
        for format in [TEXT, Format::Json] {
            let names = Names::default();
            let event = Element::Event(Box::new(allocated()));
            let mut pipe = Pipe::default();
            let output = printed(format, &names, &mut pipe, |printer| {
                printer.element(&event).unwrap();
                printer.flush().unwrap();
                names.learn(0xffff_ffff_c000_0010, "new+0x10 [b]".into());
                printer.flush().unwrap();
                printer.flush().unwrap();
                printer.element(&event).unwrap();
            });
            let lines: Vec<_> = output.lines().collect();
            assert_eq!(lines.len(), 3, "{output}");
            assert!(!lines[0].contains("new+0x10"), "{output}");
            assert!(lines[1].contains("ffffffffc0000010") && lines[1].contains("new+0x10 [b]"), "{output}");
            assert!(lines[2].contains("new+0x10 [b]"), "{output}");
        }
    }

    #[test]
    fn full_sink_omits_events_but_not_findings() {
        for format in [TEXT, Format::Json] {
            let event = Element::Event(Box::new(allocated()));
            let mut pipe = Pipe { is_full: true, ..Pipe::default() };
            let output = printed(format, &Names::default(), &mut pipe, |printer| {
                printer.element(&event).unwrap();
                printer.element(&event).unwrap();
                printer.findings(&[samples::late_use()], 5).unwrap();
                printer.settle().unwrap();
            });
            let lines: Vec<_> = output.lines().collect();
            assert!(lines[0].contains("use-after-removal"), "{output}");
            let last = lines.last().unwrap();
            assert!(last.contains('2') && last.to_lowercase().contains("unshown"), "{output}");
        }
    }
}
