//! The dashboard as a sink of a session: keeps what the screen needs, and publishes it at a fixed rate.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use p2p_trace_model::{
    accounting::Status,
    event::{DeviceAddress, Symbolize},
    pipeline::{Closing, Pipeline, Step},
    rules::Verdict,
    state::Device,
    text::Text,
    units::Clock,
};
use p2p_trace_probe::kernel::{KernelRoot, clock, devices};

use super::{
    files,
    history::{History, Identity},
    shared::Shared,
    view_model::{HolderTable, ViewModel},
};
use crate::{
    outfile::Destination,
    render::{json::SummaryLine, text},
    run::{
        Answer, Ending, Next, ReadyFile, Sink,
        recorder::{self, Flight, Saved},
    },
};

/// Between two snapshots.
const FRAME: Duration = Duration::from_millis(100);
/// Memory for a dump of the last minutes, in bytes.
const MAX_HISTORY: u64 = 64 << 20;
/// Looking at every reference takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// But so often: a look that was held up once does not say what the next one costs.
const OLDEST: Duration = Duration::from_secs(2);
/// Between two looks at what devices are called; sooner while one has no name: its driver may be about to give it one.
const LOOK: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Dashboard<'a> {
    history: History,
    shared: Arc<Shared>,
    symbols: &'a dyn Symbolize,
    /// What came of dumps that the user wanted.
    saved: Receiver<Saved>,
    saver: Sender<Saved>,
    handler: Option<Box<dyn Answer>>,
    ready_file: ReadyFile,
    holders: Arc<HolderTable>,
    /// The number of the query that they answer.
    answered: Option<u64>,
    published: Option<Instant>,
    counted: Option<Instant>,
    /// How long it took to look at every reference.
    cost: Duration,
    looked: Option<Instant>,
    /// Devices whose names are known.
    named: Vec<DeviceAddress>,
    closing: Option<(Vec<Verdict>, SummaryLine)>,
}

impl<'a> Dashboard<'a> {
    /// For a session with this status, which was opened at `start`.
    pub(crate) fn new(
        status: Status,
        start: Clock,
        symbols: &'a dyn Symbolize,
        handler: Option<Box<dyn Answer>>,
        ready_file: ReadyFile,
    ) -> Self {
        let status = Arc::new(status);
        let (saver, saved) = mpsc::channel();
        Self {
            saved,
            saver,
            history: History::new(Arc::clone(&status), start, symbols.names()),
            shared: Arc::new(Shared::new(ViewModel::blank(status, start))),
            symbols,
            handler,
            ready_file,
            holders: Arc::default(),
            answered: None,
            published: None,
            counted: None,
            cost: Duration::ZERO,
            looked: None,
            named: Vec::new(),
            closing: None,
        }
    }

    /// What the one that draws reads.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// A recorder's options that let the user write a dump of so much of the run, from now on.
    pub(crate) fn flight(&self, history: Duration) -> recorder::Options {
        let clock = self.history.clock();
        let name = files::name("dump", &clock, clock.boottime_ns, "p2pt");
        recorder::Options {
            flight: Some(Flight {
                history,
                max_bytes: MAX_HISTORY,
                asked: Arc::clone(self.shared.dump()),
                only_asked: Some(self.saver.clone()),
            }),
            ..recorder::Options::one_file(Destination::new_file(name.into()))
        }
    }

    /// What is left to say when the screen is gone: verdicts and summary.
    pub(crate) fn closing_words(&self) -> String {
        self.closing.as_ref().map_or_else(String::new, |(verdicts, summary)| {
            let style = text::Style::default();
            [text::verdicts(verdicts, style), text::summary(summary, style)].concat()
        })
    }

    fn publish(&mut self, pipeline: &Pipeline) {
        let now_ns = clock::boottime_ns();
        self.identify(pipeline);
        self.history.count(pipeline, now_ns);
        let (query, number) = self.shared.query();
        let is_due = self.counted.is_none_or(|counted| counted.elapsed() >= (self.cost * SHARE).min(OLDEST));
        if is_due || self.answered != Some(number) {
            let begun = Instant::now();
            let holders = self.history.holders(pipeline.model(), &query, self.symbols, now_ns);
            self.holders = Arc::new(holders);
            self.cost = begun.elapsed();
            self.counted = Some(Instant::now());
            self.answered = Some(number);
        }
        self.shared.publish(self.history.view_model(pipeline, &self.holders, now_ns));
        self.published = Some(Instant::now());
    }

    /// Looks up what devices are called, when there is a new one and now and then.
    fn identify(&mut self, pipeline: &Pipeline) {
        let known: Vec<_> = pipeline.model().devices().map(Device::address).collect();
        let is_named = |&address: &DeviceAddress| {
            let identity = self.history.identity(address);
            identity.is_some_and(|identity| identity.name.is_some() && identity.driver.is_some())
        };
        let pause = if known.iter().all(is_named) { LOOK } else { SOON };
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= pause);
        if known == self.named && !is_due {
            return;
        }
        let root = KernelRoot::default();
        for &address in &known {
            let (name, driver) = devices::identity(&root, address);
            self.history.identify(address, Identity { name, driver });
        }
        self.named = known;
        self.looked = Some(Instant::now());
    }
}

impl Sink for Dashboard<'_> {
    fn begin(&mut self, status: &Status) -> Result<()> {
        self.history.changed(Arc::new(status.clone()));
        self.ready_file.announce()
    }

    fn changed(&mut self, status: &Status, _time_ns: u64) -> Result<()> {
        self.history.changed(Arc::new(status.clone()));
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.history.step(step, self.symbols);
        Ok(())
    }

    fn name(&self, address: u64) -> Option<Text> {
        self.symbols.symbolize(address)
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        let mut next = Next::Go;
        if let Some(handler) = &mut self.handler {
            if handler.take(clock::boottime_ns()) {
                next = Next::Snapshot;
            }
            let (model, reached_ns) = (pipeline.model(), pipeline.reached_ns());
            handler.answer(model, reached_ns, self.symbols, clock::now());
        }
        while let Ok(saved) = self.saved.try_recv() {
            self.shared.say(files::told(saved));
        }
        let is_due = self.published.is_none_or(|published| published.elapsed() >= FRAME);
        if is_due || self.answered != Some(self.shared.asked()) {
            self.publish(pipeline);
        }
        Ok(next)
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.history.found(&closing.rest, self.symbols);
        let summary = SummaryLine {
            findings_omitted: closing.omitted,
            ..SummaryLine::new(&closing.outcome, self.history.status(), ending.duration_ns())
        };
        self.closing = Some((closing.verdicts.clone(), summary));
        Ok(())
    }
}
