//! What a report needs of the host beside the model: devices, drivers, cgroups, tasks.

use std::collections::BTreeMap;

use p2p_trace_model::event::DeviceAddress;
use p2p_trace_probe::kernel::{
    KernelRoot,
    devices::{self, Driver, P2pDevice},
    tasks::{Cgroups, Gap, Scan, StackScope, Tasks},
};

/// The host at one moment. Only tasks that a report names are looked at later.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(super) devices: BTreeMap<DeviceAddress, HostDevice>,
    pub(super) cgroups: Cgroups,
    pub(super) scan: Scan,
    pub(super) tasks: Tasks,
    /// What was read of the kernel before does not answer the question, `CLOCK_BOOTTIME`.
    pub(super) asked_ns: Option<u64>,
}

/// A device as sysfs shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDevice {
    pub(super) is_present: bool,
    pub(super) driver: Option<Driver>,
    /// Its p2p memory, if it has some.
    pub(super) memory: Option<P2pDevice>,
}

impl HostDevice {
    /// It has no driver: it never had one, or an unbind, whose first step takes the link away, is over or under way.
    pub(super) const fn has_lost_driver(&self) -> bool {
        self.is_present && self.driver.is_none()
    }

    /// Why an unbind of it may be under way that nothing else shows.
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
            Some(format!("no driver is bound, and whether a task is just unbinding it cannot be told: {gap}"))
        };
        unbinding.or_else(unseen)
    }
}

impl Host {
    /// Looks at every task, at all devices with p2p memory, and at these.
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
        // Behind the look at the drivers: an unbind that has ended since hides nothing.
        let look = if devices.values().any(HostDevice::has_lost_driver) {
            StackScope::All
        } else {
            StackScope::Waiting
        };
        Self { devices, cgroups: tasks.cgroups(), scan: tasks.scan(look), tasks, asked_ns: None }
    }

    /// For a question that was put at this time, `CLOCK_BOOTTIME`: a report says so where nothing newer was read of the
    /// kernel's state, and the model may lag behind.
    pub(crate) const fn asked_at(mut self, time_ns: u64) -> Self {
        self.asked_ns = Some(time_ns);
        self
    }
}
