//! The parts of a report that come from the host, not from the model: devices, drivers, cgroups, tasks.

use std::collections::BTreeMap;

use p2p_trace_model::event::DeviceAddress;
use p2p_trace_probe::kernel::{
    KernelRoot,
    devices::{self, Driver, P2pDevice},
    tasks::{Cgroups, Gap, Scan, StackScope, Tasks},
};

/// The host at one moment. Tasks are read later, and only those that a report names.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(super) devices: BTreeMap<DeviceAddress, HostDevice>,
    pub(super) cgroups: Cgroups,
    pub(super) scan: Scan,
    pub(super) tasks: Tasks,
    /// Kernel state that was read before this time does not answer the request, `CLOCK_BOOTTIME`.
    pub(super) asked_ns: Option<u64>,
}

/// A device as sysfs shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDevice {
    pub(super) is_present: bool,
    pub(super) driver: Option<Driver>,
    /// Its p2p memory, if any.
    pub(super) memory: Option<P2pDevice>,
}

impl HostDevice {
    /// No driver is bound: none ever was, or an unbind, whose first step removes the link, is over or ongoing.
    pub(super) const fn has_lost_driver(&self) -> bool {
        self.is_present && self.driver.is_none()
    }

    /// The reason why an unbind of this device may be ongoing that no other source shows.
    pub(super) fn hidden_unbind(&self, scan: &Scan) -> Option<String> {
        if !self.has_lost_driver() {
            return None;
        }
        let unbinding = scan.unbinding.first().map(|unbinding| {
            let (task, step) = (&unbinding.task, unbinding.step);
            format!("no driver is bound, and {task} is unbinding a device, which may be this one: {step}")
        });
        let unseen = || {
            let gap = scan.gaps.iter().find(|gap| Gap::hides_unbinds(gap))?;
            Some(format!("no driver is bound, and it is unknown whether a task is unbinding it: {gap}"))
        };
        unbinding.or_else(unseen)
    }
}

impl Host {
    /// Reads every task, all devices with p2p memory, and these devices.
    pub(crate) fn read(root: &KernelRoot, devices: impl IntoIterator<Item = DeviceAddress>) -> Self {
        let mut memory: BTreeMap<_, _> =
            devices::list(root).into_iter().map(|device| (device.address, device)).collect();
        let mut addresses: Vec<_> = devices.into_iter().chain(memory.keys().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let look = |address| {
            let device = HostDevice {
                is_present: devices::exists(root, address),
                driver: Driver::read(root, address),
                memory: memory.remove(&address),
            };
            (address, device)
        };
        let tasks = Tasks::new(root.clone());
        let devices: BTreeMap<_, _> = addresses.into_iter().map(look).collect();
        // Read after the drivers, so that an unbind that has ended since hides nothing.
        let look = if devices.values().any(HostDevice::has_lost_driver) {
            StackScope::All
        } else {
            StackScope::Waiting
        };
        Self { devices, cgroups: tasks.cgroups(), scan: tasks.scan(look), tasks, asked_ns: None }
    }

    /// For a request made at this time, `CLOCK_BOOTTIME`: a report is uncertain if no newer kernel state was read,
    /// because the model may lag behind.
    pub(crate) const fn asked_at(mut self, time_ns: u64) -> Self {
        self.asked_ns = Some(time_ns);
        self
    }
}
