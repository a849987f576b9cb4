//! The dashboard as a sink of a session. It collects data for the screen and publishes view models at a fixed rate.

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

/// The time between two view models.
const FRAME: Duration = Duration::from_millis(100);
/// The size limit of the flight recorder's buffer, in bytes.
const MAX_HISTORY: u64 = 64 << 20;
/// Updating the table of holders visits every reference. It uses at most this fraction of the time (1/20).
const HOLDERS_SHARE: u32 = 20;
/// The table is updated at least this often: a single slow update does not predict the cost of the next one.
const HOLDERS_MAX_AGE: Duration = Duration::from_secs(2);
/// The time between two lookups of device names.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(2);
/// The time between two lookups while a device has no name yet: its driver may be about to set one.
const IDENTIFY_RETRY: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Dashboard<'a> {
    history: History,
    shared: Arc<Shared>,
    symbols: &'a dyn Symbolize,
    /// Results of dumps that the user requested.
    saved: Receiver<Saved>,
    saver: Sender<Saved>,
    handler: Option<Box<dyn Answer>>,
    ready_file: ReadyFile,
    holders: Arc<HolderTable>,
    /// The number of the query that `holders` answers.
    answered: Option<u64>,
    published: Option<Instant>,
    holders_updated: Option<Instant>,
    /// How long the last update of `holders` took.
    holders_cost: Duration,
    identified: Option<Instant>,
    /// The devices of the last lookup.
    identified_devices: Vec<DeviceAddress>,
    closing: Option<(Vec<Verdict>, SummaryLine)>,
}

impl<'a> Dashboard<'a> {
    /// Creates the dashboard of a session with this status, opened at `start`.
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
            holders_updated: None,
            holders_cost: Duration::ZERO,
            identified: None,
            identified_devices: Vec::new(),
            closing: None,
        }
    }

    /// The state that is shared with the drawing thread.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The options of a flight recorder that keeps the last `history` of the run for dumps on request.
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

    /// The text to print once the terminal is restored: verdicts and summary.
    pub(crate) fn closing_words(&self) -> String {
        self.closing.as_ref().map_or_else(String::new, |(verdicts, summary)| {
            let style = text::Style::default();
            [text::verdicts(verdicts, style), text::summary(summary, style)].concat()
        })
    }

    fn publish(&mut self, pipeline: &Pipeline) {
        let now_ns = clock::boottime_ns();
        self.identify(pipeline);
        self.history.sample(pipeline, now_ns);
        let (query, number) = self.shared.query();
        let is_due = self.holders_updated.is_none_or(|updated| {
            updated.elapsed() >= (self.holders_cost * HOLDERS_SHARE).min(HOLDERS_MAX_AGE)
        });
        if is_due || self.answered != Some(number) {
            let started = Instant::now();
            let holders = self.history.holders(pipeline.model(), &query, self.symbols, now_ns);
            self.holders = Arc::new(holders);
            self.holders_cost = started.elapsed();
            self.holders_updated = Some(Instant::now());
            self.answered = Some(number);
        }
        self.shared.publish(self.history.view_model(pipeline, &self.holders, now_ns));
        self.published = Some(Instant::now());
    }

    /// Looks up the names of all devices if there is a new device, and periodically.
    fn identify(&mut self, pipeline: &Pipeline) {
        let known: Vec<_> = pipeline.model().devices().map(Device::address).collect();
        let is_named = |&address: &DeviceAddress| {
            let identity = self.history.identity(address);
            identity.is_some_and(|identity| identity.name.is_some() && identity.driver.is_some())
        };
        let pause = if known.iter().all(is_named) { IDENTIFY_INTERVAL } else { IDENTIFY_RETRY };
        let is_due = self.identified.is_none_or(|identified| identified.elapsed() >= pause);
        if known == self.identified_devices && !is_due {
            return;
        }
        let root = KernelRoot::default();
        for &address in &known {
            let (name, driver) = devices::identity(&root, address);
            self.history.identify(address, Identity { name, driver });
        }
        self.identified_devices = known;
        self.identified = Some(Instant::now());
    }
}

impl Sink for Dashboard<'_> {
    fn begin(&mut self, status: &Status) -> Result<()> {
        self.history.set_status(Arc::new(status.clone()));
        self.ready_file.announce()
    }

    fn changed(&mut self, status: &Status, _time_ns: u64) -> Result<()> {
        self.history.set_status(Arc::new(status.clone()));
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
            self.shared.notify(files::outcome(saved));
        }
        let is_due = self.published.is_none_or(|published| published.elapsed() >= FRAME);
        if is_due || self.answered != Some(self.shared.query_number()) {
            self.publish(pipeline);
        }
        Ok(next)
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.history.add_findings(&closing.rest, self.symbols);
        let summary = SummaryLine {
            findings_omitted: closing.omitted,
            ..SummaryLine::new(&closing.outcome, self.history.status(), ending.duration_ns())
        };
        self.closing = Some((closing.verdicts.clone(), summary));
        Ok(())
    }
}
