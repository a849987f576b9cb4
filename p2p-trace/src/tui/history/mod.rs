//! Data for the screen that the model does not keep: the latest events, the findings, names, and a sample of the totals for
//! each second. Cheap per element, and bounded.

mod log;
mod series;

use std::{collections::BTreeMap, sync::Arc};

pub(crate) use log::{Entry, Log};
pub(crate) use series::{Sample, Series};

use p2p_trace_model::{
    accounting::Status,
    event::{DeviceAddress, Names, Reason, Symbolize},
    pipeline::{Pipeline, Step},
    rules::Finding,
    state::Model,
    stream::assemble::Element,
    text::Text,
    units::Clock,
};

/// The names of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name, such as `nvme0`.
    pub(crate) name: Option<Text>,
    /// The bound driver at the last lookup.
    pub(crate) driver: Option<Text>,
}

/// See the module.
pub(crate) struct History {
    status: Arc<Status>,
    clock: Clock,
    identities: BTreeMap<DeviceAddress, Identity>,
    findings: Arc<[Arc<Finding>]>,
    log: log::Writer,
    names: Names,
    series: Series,
    /// Lost records, including those missing from a dump.
    lost: u64,
    /// The part of `lost` that the kernel skipped.
    skipped: u64,
    /// The last two callers that have names. Most events have one of them, since allocations and frees alternate.
    callers: [u64; 2],
}

impl History {
    /// Creates an empty history. `names` stores each name once it is resolved.
    pub(crate) fn new(status: Arc<Status>, clock: Clock, names: Names) -> Self {
        let mut history = Self {
            status: Arc::clone(&status),
            clock,
            identities: BTreeMap::new(),
            findings: Arc::default(),
            log: log::Writer::default(),
            names,
            series: Series::default(),
            lost: 0,
            skipped: 0,
            callers: [0; 2],
        };
        history.set_status(status);
        history
    }

    /// Sets a new status, after attached hooks have changed.
    pub(crate) fn set_status(&mut self, status: Arc<Status>) {
        for device in &status.devices {
            self.identify(
                device.device,
                Identity { name: device.name.clone(), driver: device.driver.clone() },
            );
        }
        self.status = status;
    }

    /// Stores the names of a device. Names from before it lost its driver are kept.
    pub(crate) fn identify(&mut self, device: DeviceAddress, found: Identity) {
        let known = self.identities.entry(device).or_default();
        known.name = found.name.or_else(|| known.name.take());
        known.driver = found.driver.or_else(|| known.driver.take());
    }

    /// Adds an element of the stream that the pipeline has evaluated.
    pub(crate) fn step(&mut self, step: &Step<'_>, symbols: &dyn Symbolize) {
        match step.element {
            Element::Event(event) => {
                if let Some(caller) = event.caller.filter(|caller| !self.callers.contains(caller)) {
                    self.resolve(std::iter::once(caller), symbols);
                    if self.names.knows(caller) {
                        self.callers = [caller, self.callers[0]];
                    }
                }
                if !event.stack.is_empty() {
                    self.resolve(event.stack.iter().copied(), symbols);
                }
                self.log.push_event(event);
            }
            Element::Loss(loss) => {
                self.lost = self.lost.saturating_add(loss.count());
                if loss.reason == Reason::Skipped {
                    self.skipped = self.skipped.saturating_add(loss.count());
                }
                self.log.push_loss(loss);
            }
            Element::User(_) | Element::Unknown(_) => {}
        }
        self.add_findings(step.findings, symbols);
    }

    /// Adds new findings and updates changed ones.
    pub(crate) fn add_findings(&mut self, findings: &[Finding], symbols: &dyn Symbolize) {
        for finding in findings {
            let callers = finding.holders.iter().filter_map(|holder| holder.caller);
            self.resolve(callers.chain(finding.stack.iter().copied()), symbols);
            let mut list = self.findings.to_vec();
            match list.iter_mut().find(|known| known.number == finding.number) {
                Some(known) => *known = Arc::new(finding.clone()),
                None => list.push(Arc::new(finding.clone())),
            }
            self.findings = list.into();
        }
    }

    /// The model was restored from a checkpoint: resolves the names for its references. `lost` records were lost before it.
    pub(crate) fn restore(&mut self, model: &Model, lost: u64, symbols: &dyn Symbolize) {
        self.lost = self.lost.saturating_add(lost);
        for device in model.devices() {
            for (_, reference) in device.references() {
                let allocated_by = device.allocated_by(reference);
                let addresses = allocated_by.caller.into_iter();
                self.resolve(addresses.chain(allocated_by.stack.iter().copied()), symbols);
            }
        }
    }

    /// Resolves the names of addresses while their modules are still loaded.
    fn resolve(&self, addresses: impl Iterator<Item = u64>, symbols: &dyn Symbolize) {
        for address in addresses.filter(|&address| !self.names.knows(address)) {
            symbols.symbolize(address);
        }
    }

    /// Takes a sample of the totals, if one is due. Called after each batch.
    pub(crate) fn sample(&mut self, pipeline: &Pipeline, now_ns: u64) {
        self.series.observe(now_ns, || Sample::of(pipeline, now_ns));
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn status_shared(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn identity(&self, device: DeviceAddress) -> Option<&Identity> {
        self.identities.get(&device)
    }

    pub(crate) fn findings(&self) -> Arc<[Arc<Finding>]> {
        Arc::clone(&self.findings)
    }

    pub(crate) fn log(&self) -> Log {
        self.log.share()
    }

    pub(crate) fn names(&self) -> Names {
        self.names.clone()
    }

    pub(crate) const fn series(&self) -> &Series {
        &self.series
    }

    pub(crate) const fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}
