//! Drives a session from attached to detached: one thread reads the kernel's records and never waits for anybody; the
//! caller's takes them through the [`Pipeline`] and hands what comes of it to a [`Sink`].

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

/// Batches that wait to be taken in: a million records, 120 MiB. They let a sink that is slower than the kernel fall behind for a
/// second or so; beyond it the rings absorb what comes, and count what they lose.
const QUEUE: usize = 256;

/// Whoever wants what a session delivers: as much of it as it has methods for.
pub(crate) trait Sink {
    /// Everything that will be attached is attached.
    fn begin(&mut self, _status: &Status) -> Result<()> {
        Ok(())
    }

    /// What is attached has changed, by `time_ns`, `CLOCK_BOOTTIME`.
    fn changed(&mut self, _status: &Status, _time_ns: u64) -> Result<()> {
        Ok(())
    }

    /// What the stream has gained, before it is judged.
    fn slice(&mut self, _slice: &Slice) -> Result<()> {
        Ok(())
    }

    /// An element of the stream.
    fn step(&mut self, _step: &Step<'_>) -> Result<()> {
        Ok(())
    }

    /// What the kernel side said of itself.
    fn diagnostics(&mut self, _said: &[Diagnostic]) -> Result<()> {
        Ok(())
    }

    /// The name of a kernel address, where the sink knows names: a memory dump then has those of what happened.
    fn name(&self, _address: u64) -> Option<Text> {
        None
    }

    /// A batch has been taken in: often several in a second, also when nothing happens. Says what to do next.
    fn pause(&mut self, _pipeline: &Pipeline) -> Result<Next> {
        Ok(Next::Go)
    }

    /// The session is detached, and everything has been handed out.
    fn end(&mut self, _closing: &Closing, _ending: &Ending) -> Result<()> {
        Ok(())
    }
}

/// Somebody who answers questions from the model.
pub(crate) trait Answer {
    /// Takes the question that has arrived, if one has; then the kernel's state is to be read.
    fn take(&mut self, now_ns: u64) -> bool;

    /// Answers, once the state has been read; the model holds everything that happened before `reached_ns`.
    fn answer(&mut self, model: &Model, reached_ns: u64, symbols: &dyn Symbolize, clock: Clock);
}

/// Nobody.
impl Sink for () {}

/// What a [`Sink`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More of it.
    Go,
    /// More, and the kernel's own state of every device soon.
    Snapshot,
    /// Nothing any more: nobody is there to take it.
    Break,
}

/// How a session is driven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver<'a> {
    /// What the rules go by.
    pub(crate) rules: rules::Options,
    /// When the session was opened, `CLOCK_BOOTTIME`.
    pub(crate) start_ns: u64,
    /// It ends after this.
    pub(crate) duration: Option<Duration>,
    /// When to stop before.
    pub(crate) stop: &'a Stop,
    /// Critical findings go to the kernel's log, too.
    pub(crate) kmsg: bool,
}

impl Driver<'_> {
    /// Reads the session to its end, and detaches it however that comes. `status` is what the sink was made with: read once, so
    /// that whatever is written or shown of it is the same, although numbers in it can change meanwhile.
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
            // The session is attached: it is read from now on, and detached however taking it in ends.
            let named = thread::Builder::new().name("p2p-trace-read".to_owned());
            let reading = named.spawn_scoped(scope, || reader.run())?;
            let allocated = self.take(status, sink, log.as_mut(), receiver, &shared);
            let read = reading.join();
            allocated?;
            match read {
                Ok(result) => result.map_err(|error| anyhow!("{error}")).context("tracing broke off"),
                Err(_panic) => Err(anyhow!("the thread that reads the kernel's records panicked")),
            }
        })
    }

    /// Consumes the receiver, so that the reader notices when nobody listens any more.
    fn take(
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
                    shared.give_back(batch);
                    sink.slice(&slice)?;
                    pipeline.advance(&slice, |step| {
                        if let Some(log) = &mut log {
                            log.tell(step.findings, step.model.now_ns());
                        }
                        crash_image.step(step, |address| sink.name(address));
                        sink.step(step)
                    })?;
                    shared.crash_image(crash_image.due(&pipeline, |address| sink.name(address)));
                }
                Message::End(ending) => {
                    if order.late() > 0 {
                        tracing::error!(
                            "{} records came too late to be put in order; please report this",
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
