//! What is kept of the stream beside the model, for the screen: the latest events, the findings, names, and how much
//! there was each second. Cheap for each element, and bounded.

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

/// What a device is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Such as `nvme0`.
    pub(crate) name: Option<Text>,
    /// The driver bound to it when that was last looked at.
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
    /// Records that did not come through, what is missing of a dump among them.
    lost: u64,
    /// Of these, the ones that the kernel skipped.
    skipped: u64,
    /// The last two callers that have names, which most events come from: an allocation and a free take turns.
    callers: [u64; 2],
}

impl History {
    /// Nothing has come yet. `names` has those that are learnt by asking for them.
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
        history.changed(status);
        history
    }

    /// What is attached has changed.
    pub(crate) fn changed(&mut self, status: Arc<Status>) {
        for device in &status.devices {
            self.identify(
                device.device,
                Identity { name: device.name.clone(), driver: device.driver.clone() },
            );
        }
        self.status = status;
    }

    /// A device was looked at. What it was called before it lost its driver is kept.
    pub(crate) fn identify(&mut self, device: DeviceAddress, found: Identity) {
        let known = self.identities.entry(device).or_default();
        known.name = found.name.or_else(|| known.name.take());
        known.driver = found.driver.or_else(|| known.driver.take());
    }

    /// An element of the stream has been judged.
    pub(crate) fn step(&mut self, step: &Step<'_>, symbols: &dyn Symbolize) {
        match step.element {
            Element::Event(event) => {
                if let Some(caller) = event.caller.filter(|caller| !self.callers.contains(caller)) {
                    self.learn(std::iter::once(caller), symbols);
                    if self.names.knows(caller) {
                        self.callers = [caller, self.callers[0]];
                    }
                }
                if !event.stack.is_empty() {
                    self.learn(event.stack.iter().copied(), symbols);
                }
                self.log.push(event);
            }
            Element::Loss(loss) => {
                self.lost = self.lost.saturating_add(loss.count());
                if loss.reason == Reason::Skipped {
                    self.skipped = self.skipped.saturating_add(loss.count());
                }
                self.log.lose(loss);
            }
            Element::User(_) | Element::Unknown(_) => {}
        }
        self.found(step.findings, symbols);
    }

    /// Findings are new or have changed.
    pub(crate) fn found(&mut self, findings: &[Finding], symbols: &dyn Symbolize) {
        for finding in findings {
            let callers = finding.holders.iter().filter_map(|holder| holder.caller);
            self.learn(callers.chain(finding.stack.iter().copied()), symbols);
            let mut list = self.findings.to_vec();
            match list.iter_mut().find(|known| known.number == finding.number) {
                Some(known) => *known = Arc::new(finding.clone()),
                None => list.push(Arc::new(finding.clone())),
            }
            self.findings = list.into();
        }
    }

    /// The model knows of references that were never told here: learns the names that they need. So many records had been
    /// lost until then.
    pub(crate) fn meet(&mut self, model: &Model, lost: u64, symbols: &dyn Symbolize) {
        self.lost = self.lost.saturating_add(lost);
        for device in model.devices() {
            for (_, reference) in device.references() {
                let allocated_by = device.allocated_by(reference);
                let addresses = allocated_by.caller.into_iter();
                self.learn(addresses.chain(allocated_by.stack.iter().copied()), symbols);
            }
        }
    }

    /// Has these addresses named while their modules are loaded.
    fn learn(&self, addresses: impl Iterator<Item = u64>, symbols: &dyn Symbolize) {
        for address in addresses.filter(|&address| !self.names.knows(address)) {
            symbols.symbolize(address);
        }
    }

    /// A batch has been taken in: counts what there was since.
    pub(crate) fn count(&mut self, pipeline: &Pipeline, now_ns: u64) {
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
