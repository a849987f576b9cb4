//! The devices: how much is out of each, and what is being torn down.

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
    /// What its driver made of it, such as `nvme0`.
    pub(crate) name: Option<Text>,
    /// The driver that was bound when that was last looked at.
    pub(crate) driver: Option<Text>,
    /// The least advanced range that is not over; `None`: it has no memory.
    pub(crate) stage: Option<Stage>,
    /// It has or had p2p memory.
    pub(crate) had_memory: bool,
    /// Bytes of them.
    pub(crate) size: Option<u64>,
    /// Bytes known to be out, those of unknown takers among them.
    pub(crate) allocated: u64,
    /// Its driver hands out pages itself: what is out is not known.
    pub(crate) bypassed: bool,
    /// References known.
    pub(crate) references: u64,
    /// Bytes of mmaps that are out.
    pub(crate) mapped: u64,
    /// When the oldest reference was taken.
    pub(crate) oldest_ns: Option<u64>,
    /// Other drivers may find it.
    pub(crate) published: Option<bool>,
    /// A teardown that is under way.
    pub(crate) pending: Option<Pending>,
    /// What is out is not certain: records were lost.
    pub(crate) uncertain: bool,
}

impl DeviceRow {
    /// There is something to show: it has or had p2p memory.
    pub(super) const fn matters(&self) -> bool {
        self.had_memory || self.allocated > 0 || self.pending.is_some() || self.name.is_some()
    }

    /// Address and name, as a filter sees it.
    pub(crate) fn label(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let driver = self.driver.as_deref().unwrap_or_default();
        format!("{} {name} {driver}", self.address)
    }

    /// In a word or two.
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
    let unseen = device.preexisting_bytes();
    let identity = history.identity(address);
    DeviceRow {
        address,
        name: identity.and_then(|identity| identity.name.clone()),
        driver: identity.and_then(|identity| identity.driver.clone()),
        stage: ranges.iter().map(|range| range.stage()).max(),
        had_memory: device.ranges().next().is_some(),
        size: sizes.filter(|_| !ranges.is_empty()),
        allocated: held.bytes.saturating_add(unseen),
        bypassed: device.is_bypassed(),
        references: held.references,
        mapped: held.mmap_pages * PAGE_SIZE,
        oldest_ns: holders.devices.get(&address).and_then(|of| of.oldest_ns),
        published: device.published(),
        pending: pending::pending(device, holders, now_ns),
        uncertain: !device.uncertain().is_empty(),
    }
}
