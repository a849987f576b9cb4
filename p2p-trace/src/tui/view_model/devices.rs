//! The devices: their allocated memory, and their pending teardowns.

use p2p_trace_model::{
    event::{DeviceAddress, decode::PAGE_SIZE},
    state::{Device, Stage},
    text::Text,
};

use super::{
    holders::HolderTable,
    pending::{self, Pending},
};
use crate::tui::history::History;

#[derive(Clone, Debug)]
pub(crate) struct DeviceRow {
    pub(crate) address: DeviceAddress,
    /// The name that its driver gave it, such as `nvme0`.
    pub(crate) name: Option<Text>,
    /// The bound driver at the last lookup.
    pub(crate) driver: Option<Text>,
    /// The most advanced stage of its ranges that are not released; `None` if there are none.
    pub(crate) stage: Option<Stage>,
    /// Whether it has or had p2p memory.
    pub(crate) had_memory: bool,
    /// The size of its ranges in bytes.
    pub(crate) size: Option<u64>,
    /// Bytes known to be allocated, including those of unknown holders.
    pub(crate) allocated: u64,
    /// Whether its driver allocates pages itself, so that the allocated memory is not known.
    pub(crate) bypassed: bool,
    /// The number of known references.
    pub(crate) references: u64,
    /// Bytes of outstanding mmaps.
    pub(crate) mapped: u64,
    /// When the oldest outstanding memory was allocated.
    pub(crate) oldest_ns: Option<u64>,
    /// Whether the memory is published to other drivers.
    pub(crate) published: Option<bool>,
    /// The pending teardown.
    pub(crate) pending: Option<Pending>,
    /// Whether the allocated memory is uncertain, because records were lost.
    pub(crate) uncertain: bool,
}

impl DeviceRow {
    /// Whether the device is shown.
    pub(super) const fn matters(&self) -> bool {
        self.had_memory || self.allocated > 0 || self.pending.is_some() || self.name.is_some()
    }

    /// Address and names, as matched by a filter.
    pub(crate) fn label(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let driver = self.driver.as_deref().unwrap_or_default();
        format!("{} {name} {driver}", self.address)
    }

    /// The displayed state.
    pub(crate) const fn state(&self) -> &'static str {
        match (&self.pending, self.stage) {
            (Some(pending), _) if pending.blocked => "BLOCKED",
            (_, Some(Stage::Killed)) => "draining",
            (_, Some(Stage::Drained)) => "drained",
            (_, Some(Stage::Removed)) => "removed",
            (Some(_), Some(Stage::Live | Stage::Released)) => "unbinding",
            (Some(_), None) => "unbinding",
            (None, Some(Stage::Live | Stage::Released)) => "in use",
            (None, None) => "no memory",
        }
    }
}

pub(super) fn row(device: &Device, history: &History, holders: &HolderTable, now_ns: u64) -> DeviceRow {
    let address = device.address();
    let ranges: Vec<_> =
        device.ranges().filter(|range| range.stage() < Stage::Released && range.is_named()).collect();
    let sizes: Option<u64> = ranges.iter().map(|range| range.size()).sum();
    let held = device.held_in_all();
    let preexisting = device.preexisting_bytes();
    let identity = history.identity(address);
    DeviceRow {
        address,
        name: identity.and_then(|identity| identity.name.clone()),
        driver: identity.and_then(|identity| identity.driver.clone()),
        stage: ranges.iter().map(|range| range.stage()).max(),
        had_memory: device.ranges().next().is_some(),
        size: sizes.filter(|_| !ranges.is_empty()),
        allocated: held.bytes.saturating_add(preexisting),
        bypassed: device.is_bypassed(),
        references: held.references,
        mapped: held.mmap_pages * PAGE_SIZE,
        oldest_ns: holders.devices.get(&address).and_then(|of| of.oldest_ns),
        published: device.published(),
        pending: pending::pending(device, holders, now_ns),
        uncertain: !device.uncertain().is_empty(),
    }
}
