//! Drives a session from attach to detach. One thread reads the kernel's records and never waits; the caller's thread passes them
//! through the [`Pipeline`] and the results to a [`Sink`].

mod crash_image;
mod diagnostics;
pub(crate) mod dumps;
pub(crate) mod evaluate;
mod fifo;
mod kernel_log;
#[cfg(test)]
mod missing_tests;
mod open;
mod play;
mod reader;
mod ready;
pub(crate) mod recorder;
pub(crate) mod stop;
#[cfg(any(feature = "trace", test))]
mod symbols;
mod tee;

use std::{
    fs::File,
    sync::{atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use crash_image::CrashImage;
use kernel_log::KernelLog;
pub(crate) use open::{Opened, open};
use p2p_trace_model::{
    accounting::Status,
    event::Symbolize,
    pipeline::{Closing, Pipeline, Slice, Step},
    rules,
    state::Model,
    stream::{Diagnostic, order::Order},
    text::Text,
    units::Clock,
};
use p2p_trace_probe::{kernel::clock::boottime_ns, transport::Session};
pub(crate) use play::play;
#[cfg(feature = "tui")]
pub(crate) use play::take_in;
pub(crate) use reader::Ending;
use reader::{Message, Reader, Shared};
pub(crate) use ready::ReadyFile;
use stop::Stop;
pub(crate) use tee::Tee;

/// Batches that may wait to be processed: a million records, 120 MiB. A sink that is slower than the kernel can fall behind by
/// about a second. Beyond that, records stay in the rings, which count the lost ones.
const QUEUE: usize = 256;

/// A consumer of a session. Every method has a default that ignores the data.
pub(crate) trait Sink {
    /// All hooks are attached.
    fn begin(&mut self, _status: &Status) -> Result<()> {
        Ok(())
    }

    /// The status has changed by `time_ns`, `CLOCK_BOOTTIME`.
    fn changed(&mut self, _status: &Status, _time_ns: u64) -> Result<()> {
        Ok(())
    }

    /// New records of the stream, before the rules are evaluated.
    fn slice(&mut self, _slice: &Slice) -> Result<()> {
        Ok(())
    }

    /// An element of the stream, with the findings that it causes.
    fn step(&mut self, _step: &Step<'_>) -> Result<()> {
        Ok(())
    }

    /// Diagnostics of the kernel side.
    fn diagnostics(&mut self, _diagnostics: &[Diagnostic]) -> Result<()> {
        Ok(())
    }

    /// The name of a kernel address, if the sink knows names. They are added to the crash image.
    fn name(&self, _address: u64) -> Option<Text> {
        None
    }

    /// A batch was processed. Called several times per second even without events. Returns what to do next.
    fn pause(&mut self, _pipeline: &Pipeline) -> Result<Next> {
        Ok(Next::Go)
    }

    /// The session is detached, and everything was delivered.
    fn end(&mut self, _closing: &Closing, _ending: &Ending) -> Result<()> {
        Ok(())
    }
}

/// Answers requests of other processes from the model.
pub(crate) trait Answer {
    /// Accepts a pending request. Returns true if there is one, which needs a snapshot.
    fn take(&mut self, now_ns: u64) -> bool;

    /// Answers the request, once the snapshot is complete. The model has all events before `reached_ns`.
    fn answer(&mut self, model: &Model, reached_ns: u64, symbols: &dyn Symbolize, clock: Clock);
}

/// Ignores everything.
impl Sink for () {}

/// What to do after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Continue.
    Go,
    /// Continue, and take a snapshot of every device soon.
    Snapshot,
    /// Stop: the consumer is gone.
    Break,
}

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver<'a> {
    /// The options of the rules.
    pub(crate) rules: rules::Options,
    /// When the session was opened, `CLOCK_BOOTTIME`.
    pub(crate) start_ns: u64,
    /// How long to run; `None`: until it is stopped.
    pub(crate) duration: Option<Duration>,
    /// The request to stop.
    pub(crate) stop: &'a Stop,
    /// Write critical findings to the kernel log, too.
    pub(crate) kmsg: bool,
}

impl Driver<'_> {
    /// Reads the session to its end, and detaches it in any case. `status` is the one that the sink was created with: it is read only
    /// once, because its numbers can change, and all outputs must show the same ones.
    pub(crate) fn run(&self, session: Box<dyn Session>, status: &Status, sink: &mut impl Sink) -> Result<()> {
        let mut log = self.kmsg.then(KernelLog::open).transpose()?;
        let shared = Shared::default();
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let reader = Reader {
            session,
            stop: self.stop,
            deadline: self.duration.and_then(|duration| Instant::now().checked_add(duration)),
            idle: reader::idle(status),
            shared: &shared,
            sender,
        };
        thread::scope(|scope| {
            // From here on the session is read, and detached even if processing fails.
            let named = thread::Builder::new().name("p2p-trace-read".to_owned());
            let reading = named.spawn_scoped(scope, || reader.run())?;
            let processed = self.process(status, sink, log.as_mut(), receiver, &shared);
            let read = reading.join();
            processed?;
            match read {
                Ok(result) => result.map_err(|error| anyhow!("{error}")).context("tracing broke off"),
                Err(_panic) => Err(anyhow!("the thread that reads the kernel's records panicked")),
            }
        })
    }

    /// Processes messages. Owns the receiver, so that the reader notices when it returns.
    fn process(
        &self,
        status: &Status,
        sink: &mut impl Sink,
        mut log: Option<&mut KernelLog<File>>,
        receiver: mpsc::Receiver<Message>,
        shared: &Shared,
    ) -> Result<()> {
        let (mut order, mut slice) = (Order::new(), Slice::default());
        let mut pipeline = Pipeline::new(status, self.rules, self.start_ns);
        let mut crash_image = CrashImage::new(status, self.rules, self.start_ns);
        shared.crash_image(crash_image.due(&pipeline, |address| sink.name(address)));
        sink.begin(status)?;
        for message in receiver {
            match message {
                Message::Batch(batch, status) => {
                    if let Some(status) = status {
                        sink.changed(&status, boottime_ns())?;
                        pipeline.update(&status);
                        crash_image.changed(&status);
                    }
                    slice.refill(&mut order, &batch);
                    if !batch.diagnostics.is_empty() {
                        diagnostics::show(&batch.diagnostics, None);
                        sink.diagnostics(&batch.diagnostics)?;
                    }
                    shared.recycle(batch);
                    sink.slice(&slice)?;
                    pipeline.advance(&slice, |step| {
                        if let Some(log) = &mut log {
                            log.write(step.findings, step.model.now_ns());
                        }
                        crash_image.step(step, |address| sink.name(address));
                        sink.step(step)
                    })?;
                    shared.crash_image(crash_image.due(&pipeline, |address| sink.name(address)));
                }
                Message::End(ending) => {
                    if order.late() > 0 {
                        tracing::error!(
                            "{} records arrived too late to be sorted; please report this",
                            order.late()
                        );
                    }
                    let closing = pipeline.close(&ending.totals);
                    sink.end(&closing, &ending)?;
                }
            }
            shared.backlog.store(order.len(), Ordering::Relaxed);
            match sink.pause(&pipeline)? {
                Next::Go => {}
                Next::Snapshot => shared.snapshot.store(true, Ordering::Relaxed),
                Next::Break => return Ok(()),
            }
        }
        Ok(())
    }
}
