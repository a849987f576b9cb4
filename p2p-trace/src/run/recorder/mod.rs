//! Records a run while it is traced. The tracing thread never waits for the disk, which may be the device that is being unbound: a
//! separate thread writes, and records that do not fit into its queue are omitted and counted.

mod disk;
mod dropped;
mod files;
mod flight;
#[cfg(test)]
mod flight_tests;
mod names;
#[cfg(test)]
mod redacted_tests;
#[cfg(test)]
mod replace_tests;
#[cfg(test)]
mod restart_tests;
mod syncs;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};
use p2p_trace_common::{Kind, Ring};

use crate::{
    outfile::Destination,
    run::{Ending, Next, Sink},
};
use disk::{Disk, Message};
use dropped::Dropped;
pub(crate) use files::Limits;
pub(crate) use flight::Flight;
#[cfg(feature = "tui")]
pub(crate) use flight::Saved;
use names::NewNames;
use p2p_trace_dump::{Checkpoint, Header, Reason};
use p2p_trace_model::{
    accounting::{Status, Totals},
    event::Symbolize,
    pipeline::{Closing, Pipeline, Slice, Step},
    stream::{Diagnostic, Level, assemble::Element},
    text::Text,
};

/// Maximum size of the queue in bytes. At 10,000 events per second this is half a minute.
const QUEUE: u64 = 64 << 20;

/// Diagnostics of the kernel side that are recorded per run at most, so that they do not dominate the dump.
const MAX_DIAGNOSTICS: usize = 10_000;

/// How long to wait at the end of a run for names that are still being looked up.
const SETTLE: Duration = Duration::from_secs(2);

/// Where and how to record.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The file, or the first of several.
    pub(crate) destination: Destination,
    /// When to rotate, and how many files to keep.
    pub(crate) limits: Limits,
    /// Replace what identifies a host or a person.
    pub(crate) redact: bool,
    /// Keep the history in memory, and write it only on a finding or a request.
    pub(crate) flight: Option<Flight>,
}

impl Options {
    /// Options for a single file without limits.
    pub(crate) fn one_file(destination: Destination) -> Self {
        Self { destination, limits: Limits::default(), redact: false, flight: None }
    }
}

/// The state that both threads share.
#[derive(Debug, Default)]
struct Shared {
    /// Size of the queue in bytes.
    queued: AtomicU64,
    /// The writing thread needs a checkpoint, for a new file or within the current one.
    wants_checkpoint: AtomicBool,
    /// The reader of the pipe has closed it.
    closed: AtomicBool,
}

/// The result of recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Bytes written to all files.
    pub(crate) bytes: u64,
    /// Number of files.
    pub(crate) files: u32,
    /// Records that did not fit into the queue.
    pub(crate) omitted: u64,
    /// The first error of the disk.
    pub(crate) error: Option<String>,
}

/// A sink that passes the run to the writing thread.
pub(crate) struct Recorder<'a> {
    symbols: &'a dyn Symbolize,
    /// The id of the run.
    run: u64,
    shared: Arc<Shared>,
    sender: Option<Sender<Message>>,
    disk: Option<JoinHandle<Recorded>>,
    slices: Vec<Slice>,
    names: NewNames,
    dropped: Dropped,
    omitted: u64,
    /// Number of diagnostics so far.
    diagnostics: usize,
    /// The pending slices must reach the disk at once.
    is_urgent: bool,
    /// There was a finding since the last save.
    has_finding: bool,
    /// Set from outside to request a save.
    asked: Option<Arc<AtomicBool>>,
    /// Save only on request, not on findings.
    only_asked: bool,
    rotate_at: Option<u64>,
    recorded: Recorded,
}

impl<'a> Recorder<'a> {
    /// Creates the first file and writes its header.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub(crate) fn start(options: Options, header: Header, symbols: &'a dyn Symbolize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let run = header.status.run;
        let asked = options.flight.as_ref().map(|flight| Arc::clone(&flight.asked));
        let only_asked = options.flight.as_ref().is_some_and(|flight| flight.only_asked.is_some());
        let (sender, receiver) = mpsc::channel();
        let disk = Disk::create(options, header, Arc::clone(&shared))?;
        let thread = thread::Builder::new().name("recorder".to_owned());
        let disk = thread.spawn(move || disk.run(&receiver))?;
        Ok(Self {
            symbols,
            run,
            shared,
            sender: Some(sender),
            disk: Some(disk),
            slices: Vec::new(),
            names: NewNames::default(),
            dropped: Dropped::default(),
            omitted: 0,
            diagnostics: 0,
            is_urgent: false,
            has_finding: false,
            asked,
            only_asked,
            rotate_at: None,
            recorded: Recorded::default(),
        })
    }

    /// The result, after the end of the run.
    pub(crate) const fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Ends the recording. `totals` are the kernel's counts, if the run is complete.
    fn finish(&mut self, reason: Reason, duration: Duration, totals: Option<Totals>) {
        if reason == Reason::End && self.names.lacks_some() {
            self.symbols.settle(SETTLE);
        }
        self.pass_on();
        self.save();
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.send(Message::End { reason, duration_ns, totals });
        self.sender = None;
        if let Some(disk) = self.disk.take() {
            self.recorded = disk.join().unwrap_or_else(|_panic| Recorded {
                error: Some("the thread that writes the dump panicked".to_owned()),
                ..Recorded::default()
            });
            self.recorded.omitted = self.omitted;
        }
    }

    /// Sends the pending slices and names, or omits them if the queue is full.
    fn pass_on(&mut self) {
        let slices = std::mem::take(&mut self.slices);
        let names = self.names.take(self.symbols);
        let is_urgent = std::mem::take(&mut self.is_urgent);
        if slices.is_empty() && names.is_empty() {
            return;
        }
        let bytes = slices.iter().map(size_of_slice).sum::<u64>();
        if self.shared.queued.load(Ordering::Relaxed).saturating_add(bytes) > QUEUE {
            self.omitted += self.dropped.add(&slices);
            self.names.forget(names);
            return;
        }
        let mut slices = slices;
        if let Some(first) = slices.first_mut() {
            self.dropped.insert_into(first);
        }
        self.shared.queued.fetch_add(bytes, Ordering::Relaxed);
        self.send(Message::Gained { slices, names, bytes, is_urgent });
    }

    /// Requests a save, after everything before it was sent.
    fn save(&mut self) {
        let Some(asked) = &self.asked else { return };
        let is_asked = asked.swap(false, Ordering::Relaxed);
        if std::mem::take(&mut self.has_finding) && !self.only_asked || is_asked {
            self.send(Message::Save);
        }
    }

    fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            // If the thread has ended, joining it returns the reason.
            drop(sender.send(message));
        }
    }
}

/// Memory that a waiting slice uses, in bytes.
const fn size_of_slice(slice: &Slice) -> u64 {
    (size_of::<Slice>() + size_of_val(slice.items.as_slice())) as u64
}

impl Sink for Recorder<'_> {
    fn changed(&mut self, status: &Status, time_ns: u64) -> Result<()> {
        self.pass_on();
        self.send(Message::Status(Box::new(status.clone()), time_ns));
        Ok(())
    }

    fn slice(&mut self, slice: &Slice) -> Result<()> {
        self.slices.push(slice.clone());
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        if let Element::Event(event) = step.element {
            let addresses = event.caller.iter().chain(&event.stack);
            for &address in addresses {
                self.names.see(address, step.model.now_ns(), self.symbols);
            }
            // Snapshot records are repeated every second.
            let is_state = matches!(event.kind, Kind::RangeState | Kind::DeviceState);
            self.is_urgent |= event.id.ring() == Ring::Rare && !is_state;
        }
        self.is_urgent |= !step.findings.is_empty();
        self.has_finding |= !step.findings.is_empty();
        Ok(())
    }

    fn diagnostics(&mut self, diagnostics: &[Diagnostic]) -> Result<()> {
        let room = MAX_DIAGNOSTICS - self.diagnostics;
        let mut kept = diagnostics.get(..room).unwrap_or(diagnostics).to_vec();
        self.diagnostics += kept.len();
        if room > 0 && self.diagnostics == MAX_DIAGNOSTICS {
            let text =
                format!("a run records at most {MAX_DIAGNOSTICS} diagnostics: further ones are omitted");
            kept.extend(diagnostics.last().map(|last| Diagnostic::new(last.time_ns, Level::Warn, &text)));
        }
        if !kept.is_empty() {
            self.send(Message::Diagnostics(kept));
        }
        Ok(())
    }

    fn name(&self, address: u64) -> Option<Text> {
        self.symbols.symbolize(address)
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        self.pass_on();
        self.save();
        if self.shared.wants_checkpoint.load(Ordering::Relaxed) && self.dropped.is_empty() {
            // A record that waits for its stack would be in the previous file and not in the checkpoint.
            let since_ns = *self.rotate_at.get_or_insert_with(|| pipeline.reached_ns());
            let is_late = pipeline.reached_ns().saturating_sub(since_ns) > 1_000_000_000;
            if pipeline.is_settled() || is_late {
                self.rotate_at = None;
                self.shared.wants_checkpoint.store(false, Ordering::Relaxed);
                let checkpoint = Checkpoint::of(pipeline, self.run);
                self.send(Message::Rotate(Box::new(checkpoint)));
                return Ok(Next::Snapshot);
            }
        }
        Ok(if self.shared.closed.load(Ordering::Relaxed) { Next::Break } else { Next::Go })
    }

    fn end(&mut self, _closing: &Closing, ending: &Ending) -> Result<()> {
        self.finish(Reason::End, ending.duration, Some(ending.totals.clone()));
        match &self.recorded.error {
            Some(error) => Err(anyhow!("the dump is not complete: {error}")),
            None => Ok(()),
        }
    }
}

/// A run that breaks off leaves a dump of its records so far.
impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if self.disk.is_some() {
            self.finish(Reason::Broken, Duration::ZERO, None);
        }
    }
}
