//! What the screen shows of one moment: taken from the pipeline at a fixed rate, small whatever the model holds, and never
//! changed afterwards. Everything in it is plain data, so that the thread that draws needs neither model nor locks.

mod answer;
mod devices;
mod holders;
mod pending;
mod query;
mod teardown;

use std::sync::Arc;

pub(crate) use answer::{Headline, Level, Now};
pub(crate) use devices::DeviceRow;
pub(crate) use holders::{HolderTable, Row, Who, holders, matches_itself};
pub(crate) use query::{Column, Fields, Filter, Grouping, Query};
pub(crate) use teardown::{Line, Mark, Timeline};

use p2p_trace_model::{
    accounting::{MissedQuality, Status},
    event::{DeviceAddress, Names, Symbolize},
    pipeline::Pipeline,
    rules::{Finding, Verdict},
    state::Model,
    units::Clock,
};

use super::history::{History, Log, Sample};
use crate::render::words::counted;

#[derive(Clone, Debug)]
pub(crate) struct ViewModel {
    /// The moment, `CLOCK_BOOTTIME`.
    pub(crate) now_ns: u64,
    /// Times of day.
    pub(crate) clock: Clock,
    pub(crate) status: Arc<Status>,
    /// Is anything wrong?
    pub(crate) headline: Headline,
    /// Events, losses, rates.
    pub(crate) traffic: Traffic,
    /// By address.
    pub(crate) devices: Vec<DeviceRow>,
    /// What is out and who took it, as asked for.
    pub(crate) holders: Arc<HolderTable>,
    /// Pending ones first, then the latest.
    pub(crate) teardowns: Vec<Timeline>,
    /// Oldest first.
    pub(crate) findings: Arc<[Arc<Finding>]>,
    /// Findings that are only counted.
    pub(crate) findings_omitted: u64,
    /// What every rule comes to now.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) log: Log,
    /// Names of the addresses in all of it.
    pub(crate) names: Names,
    /// One per second, oldest first.
    pub(crate) history: Vec<Sample>,
    /// Where a replay stands; `None`: this happens now.
    pub(crate) playback: Option<Playback>,
}

/// Where a replay stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Playback {
    /// The first moment of the recording.
    pub(crate) start_ns: u64,
    /// The last.
    pub(crate) end_ns: u64,
    /// Time goes on by itself.
    pub(crate) playing: bool,
    /// How fast, in percent.
    pub(crate) speed: u32,
    /// What is missing of the recording or cannot be read, at whatever time, in sentences.
    pub(crate) lacks: Arc<[String]>,
    /// Which run is shown, from 0 on, of how many.
    pub(crate) run: usize,
    pub(crate) runs: usize,
}

/// What has come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) events: u64,
    /// Events in the last second.
    pub(crate) per_second: u64,
    /// Records lost so far, as the log tells it.
    pub(crate) lost: u64,
    /// Of these, the ones that the kernel skipped; `None`: this kernel does not count them all.
    pub(crate) missed: Option<u64>,
}

impl History {
    /// Answers a query. This looks at every reference: see [`HolderTable`].
    pub(crate) fn holders(
        &self,
        model: &Model,
        query: &Query,
        symbols: &dyn Symbolize,
        now_ns: u64,
    ) -> HolderTable {
        let name = |address: DeviceAddress| {
            let identity = self.identity(address).cloned().unwrap_or_default();
            format!("{address} {} {}", identity.name.unwrap_or_default(), identity.driver.unwrap_or_default())
        };
        holders(model, query, symbols, name, now_ns)
    }

    /// Takes a snapshot.
    pub(crate) fn view_model(
        &self,
        pipeline: &Pipeline,
        holders: &Arc<HolderTable>,
        now_ns: u64,
    ) -> ViewModel {
        ViewModel::take(self, pipeline, holders, now_ns)
    }
}

impl ViewModel {
    /// Before anything has happened.
    pub(crate) fn blank(status: Arc<Status>, clock: Clock) -> Self {
        let history = History::new(status, clock, Names::default());
        let pipeline =
            Pipeline::new(history.status(), p2p_trace_model::rules::Options::default(), clock.boottime_ns);
        history.view_model(&pipeline, &Arc::default(), clock.boottime_ns)
    }

    /// Takes one of what the keeper has kept and the pipeline has come to.
    pub(super) fn take(
        history: &History,
        pipeline: &Pipeline,
        holders: &Arc<HolderTable>,
        now_ns: u64,
    ) -> Self {
        let model = pipeline.model();
        let devices: Vec<_> = model
            .devices()
            .map(|device| devices::row(device, history, holders, now_ns))
            .filter(DeviceRow::matters)
            .collect();
        let verdicts = pipeline.rules().verdicts(model);
        let status = history.status_shared();
        let skipped = history.skipped();
        let traffic = Traffic {
            events: pipeline.tally().events(),
            per_second: history.series().per_second(now_ns, pipeline.tally().events()),
            lost: history.lost(),
            missed: (status.accounting.missed == MissedQuality::Counted).then_some(skipped),
        };
        let findings = history.findings();
        let rules = pipeline.rules();
        let mut uncertainties = rules.coverage().uncertainties().to_vec();
        // Where no device was seen, no verdict tells that it can have been among them.
        if verdicts.is_empty() && uncertainties.is_empty() && rules.is_inconclusive() {
            uncertainties.push(format!("{} lost, of whichever device", counted(history.lost(), "record")));
        }
        Self {
            now_ns,
            clock: history.clock(),
            headline: answer::headline(&answer::Judged {
                devices: &devices,
                findings: &findings,
                verdicts: &verdicts,
                uncertainties: &uncertainties,
                clock: &history.clock(),
                now_ns,
            }),
            status,
            traffic,
            teardowns: teardown::timelines(model, holders, now_ns),
            holders: Arc::clone(holders),
            devices,
            findings,
            findings_omitted: pipeline.rules().omitted(),
            verdicts,
            log: history.log(),
            names: history.names(),
            history: history.series().samples(),
            playback: None,
        }
    }

    /// The row of a device.
    pub(crate) fn device(&self, address: DeviceAddress) -> Option<&DeviceRow> {
        self.devices.iter().find(|row| row.address == address)
    }
}
