//! The view model: everything that the screen shows at one moment. It is created from the pipeline at a fixed rate, is small
//! regardless of the size of the model, and is immutable. It is plain data, so that the drawing thread needs neither the
//! model nor locks.

mod answer;
mod devices;
mod holders;
mod pending;
mod query;
mod teardown;

use std::sync::Arc;

pub(crate) use answer::{Headline, Level, Now};
pub(crate) use devices::DeviceRow;
pub(crate) use holders::{Holder, HolderTable, Row, holders, matches_itself};
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
    /// The time of the view model (`CLOCK_BOOTTIME`).
    pub(crate) now_ns: u64,
    /// The clock for times of day.
    pub(crate) clock: Clock,
    pub(crate) status: Arc<Status>,
    /// Overall answer and current activity.
    pub(crate) headline: Headline,
    /// Counts of events and losses.
    pub(crate) traffic: Traffic,
    /// The devices, by address.
    pub(crate) devices: Vec<DeviceRow>,
    /// The table of holders, as queried.
    pub(crate) holders: Arc<HolderTable>,
    /// The teardowns: pending ones first, then the latest.
    pub(crate) teardowns: Vec<Timeline>,
    /// The findings, oldest first.
    pub(crate) findings: Arc<[Arc<Finding>]>,
    /// The number of findings that are counted but not kept.
    pub(crate) findings_omitted: u64,
    /// The verdict of every rule as of now.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) log: Log,
    /// The names of all addresses in the view model.
    pub(crate) names: Names,
    /// Samples of the totals, one per second, oldest first.
    pub(crate) history: Vec<Sample>,
    /// The state of a replay; `None` for a live session.
    pub(crate) playback: Option<Playback>,
}

/// The state of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Playback {
    /// The first time of the recording.
    pub(crate) start_ns: u64,
    /// The last time of the recording.
    pub(crate) end_ns: u64,
    /// Whether the replay is playing.
    pub(crate) playing: bool,
    /// The speed in percent.
    pub(crate) speed: u32,
    /// Parts of the recording that are missing or unreadable, at any time, in sentences.
    pub(crate) missing: Arc<[String]>,
    /// The index of the shown run, from 0.
    pub(crate) run: usize,
    /// The number of runs.
    pub(crate) runs: usize,
}

/// Counts of events and losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) events: u64,
    /// Events per second, measured over the last second.
    pub(crate) per_second: u64,
    /// Records lost so far, as shown in the log.
    pub(crate) lost: u64,
    /// The part of `lost` that the kernel skipped; `None` if this kernel does not count all skipped runs.
    pub(crate) missed: Option<u64>,
}

impl History {
    /// Answers a query. This visits every reference.
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

    /// Creates a view model.
    pub(crate) fn view_model(
        &self,
        pipeline: &Pipeline,
        holders: &Arc<HolderTable>,
        now_ns: u64,
    ) -> ViewModel {
        ViewModel::new(self, pipeline, holders, now_ns)
    }
}

impl ViewModel {
    /// The view model of a run in which nothing has happened yet.
    pub(crate) fn blank(status: Arc<Status>, clock: Clock) -> Self {
        let history = History::new(status, clock, Names::default());
        let pipeline =
            Pipeline::new(history.status(), p2p_trace_model::rules::Options::default(), clock.boottime_ns);
        history.view_model(&pipeline, &Arc::default(), clock.boottime_ns)
    }

    /// Creates a view model from the history and the pipeline.
    pub(super) fn new(
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
        // Without any device, there is no verdict to show that lost records may concern one.
        if verdicts.is_empty() && uncertainties.is_empty() && rules.is_inconclusive() {
            uncertainties.push(format!("{} lost, device unknown", counted(history.lost(), "record")));
        }
        Self {
            now_ns,
            clock: history.clock(),
            headline: answer::headline(&answer::Inputs {
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

    pub(crate) fn device(&self, address: DeviceAddress) -> Option<&DeviceRow> {
        self.devices.iter().find(|row| row.address == address)
    }
}
