//! What the screen shows of one moment: taken from the pipeline at a fixed rate, small whatever the model holds, and never
//! changed afterwards. Everything in it is plain data, so that the thread that draws needs neither model nor locks.

mod answer;
mod devices;
mod pending;
mod query;
mod takers;
mod teardown;

use std::sync::Arc;

pub(crate) use answer::{Headline, Level, Now};
pub(crate) use devices::DeviceRow;
pub(crate) use query::{Column, Fields, Filter, Grouping, Query};
pub(crate) use takers::{Row, Takers, Who, matches_itself, takers};
pub(crate) use teardown::{Line, Mark, Timeline};

use p2p_trace_model::{
    accounting::{MissedQuality, Status},
    event::{DeviceAddress, Names, Symbolize},
    pipeline::Pipeline,
    rules::{Finding, Verdict},
    state::Model,
    units::Clock,
};

use super::keeper::{Keeper, Log, Sample};
use crate::render::words::counted;

#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
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
    pub(crate) takers: Arc<Takers>,
    /// Pending ones first, then the latest.
    pub(crate) teardowns: Vec<Timeline>,
    /// Oldest first.
    pub(crate) findings: Arc<[Arc<Finding>]>,
    /// Findings that are only counted.
    pub(crate) findings_left_out: u64,
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

impl Keeper {
    /// Answers a query. This looks at every reference: see [`Takers`].
    pub(crate) fn takers(
        &self,
        model: &Model,
        query: &Query,
        symbols: &dyn Symbolize,
        now_ns: u64,
    ) -> Takers {
        let name = |address: DeviceAddress| {
            let identity = self.identity(address).cloned().unwrap_or_default();
            format!("{address} {} {}", identity.name.unwrap_or_default(), identity.driver.unwrap_or_default())
        };
        takers(model, query, symbols, name, now_ns)
    }

    /// Takes a snapshot.
    pub(crate) fn snapshot(&self, pipeline: &Pipeline, takers: &Arc<Takers>, now_ns: u64) -> Snapshot {
        Snapshot::take(self, pipeline, takers, now_ns)
    }
}

impl Snapshot {
    /// Before anything has happened.
    pub(crate) fn blank(status: Arc<Status>, clock: Clock) -> Self {
        let keeper = Keeper::new(status, clock, Names::default());
        let pipeline =
            Pipeline::new(keeper.status(), p2p_trace_model::rules::Options::default(), clock.boottime_ns);
        keeper.snapshot(&pipeline, &Arc::default(), clock.boottime_ns)
    }

    /// Takes one of what the keeper has kept and the pipeline has come to.
    pub(super) fn take(keeper: &Keeper, pipeline: &Pipeline, takers: &Arc<Takers>, now_ns: u64) -> Self {
        let model = pipeline.model();
        let devices: Vec<_> = model
            .devices()
            .map(|device| devices::row(device, keeper, takers, now_ns))
            .filter(DeviceRow::matters)
            .collect();
        let verdicts = pipeline.rules().verdicts(model);
        let status = keeper.status_shared();
        let skipped = keeper.skipped();
        let traffic = Traffic {
            events: pipeline.tally().events(),
            per_second: keeper.history().per_second(now_ns, pipeline.tally().events()),
            lost: keeper.lost(),
            missed: (status.accounting.missed == MissedQuality::Counted).then_some(skipped),
        };
        let findings = keeper.findings();
        let rules = pipeline.rules();
        let mut doubts = rules.coverage().doubts().to_vec();
        // Where no device was seen, no verdict tells that it can have been among them.
        if verdicts.is_empty() && doubts.is_empty() && rules.is_doubtful() {
            doubts.push(format!("{} lost, of whichever device", counted(keeper.lost(), "record")));
        }
        Self {
            now_ns,
            clock: keeper.clock(),
            headline: answer::headline(&answer::Judged {
                devices: &devices,
                findings: &findings,
                verdicts: &verdicts,
                doubts: &doubts,
                clock: &keeper.clock(),
                now_ns,
            }),
            status,
            traffic,
            teardowns: teardown::timelines(model, takers, now_ns),
            takers: Arc::clone(takers),
            devices,
            findings,
            findings_left_out: pipeline.rules().omitted(),
            verdicts,
            log: keeper.log(),
            names: keeper.names(),
            history: keeper.history().samples(),
            playback: None,
        }
    }

    /// The row of a device.
    pub(crate) fn device(&self, address: DeviceAddress) -> Option<&DeviceRow> {
        self.devices.iter().find(|row| row.address == address)
    }
}
