//! The holders of outstanding memory, with facts of this host about them.

use p2p_trace_model::{
    event::{Task, is_return_trampoline, names::RecordId},
    holders::{self, Groups},
    names::Hex,
    state::Device,
};
use p2p_trace_probe::kernel::{devices::Driver, tasks::Liveness};

use super::{
    Facts,
    report::{Holder, TaskLine},
};

/// The known holders of a device's memory, the largest group first.
pub(super) fn holders(device: &Device, driver: Option<&Driver>, facts: &Facts<'_>) -> Vec<Holder> {
    let groups = Groups::of(device, |_| true).holders().into_iter();
    groups.map(|group| holder(&group, driver, facts)).collect()
}

fn holder(group: &holders::Holder, driver: Option<&Driver>, facts: &Facts<'_>) -> Holder {
    let caller = group.caller.and_then(|address| facts.symbols.symbolize(address));
    // A kretprobe can replace the caller's address by its trampoline, which is no caller.
    let is_known = !caller.as_deref().is_some_and(is_return_trampoline);
    let caller = caller.filter(|_| is_known);
    let process = match (group.exited_since_ns, group.task) {
        (Some(_), _) => Liveness::Exited,
        (None, Some(task)) => facts.host.tasks.liveness(task.tgid, group.newest_ns),
        (None, None) => Liveness::Unknown,
    };
    Holder {
        kind: group.kind,
        count: group.count,
        references: group.references,
        bytes: group.bytes,
        allocated_by: group.task.as_ref().map(task_line),
        process,
        exited_ns: group.exited_since_ns,
        cgroup: group.cgroup.and_then(|id| facts.host.cgroups.path(id)).cloned(),
        cgroup_id: group.cgroup,
        by_driver: caller.as_deref().and_then(|caller| is_by(caller, driver)),
        caller,
        caller_addr: group.caller.filter(|_| is_known).map(Hex),
        oldest: facts.clock.rfc3339(group.since_ns).into(),
        oldest_ns: group.since_ns,
        newest_ns: group.newest_ns,
        age_ns: facts.now_ns.saturating_sub(group.since_ns),
        record: RecordId(group.record),
        unsure: group.unsure,
    }
}

pub(super) fn task_line(task: &Task) -> TaskLine {
    TaskLine { pid: task.pid, tgid: task.tgid, comm: task.name().into() }
}

/// Whether a function belongs to the driver. Unknown if both are built into the kernel.
fn is_by(caller: &str, driver: Option<&Driver>) -> Option<bool> {
    let module = caller.rsplit_once(" [").and_then(|(_, module)| module.strip_suffix(']'));
    match (module, driver?.module.as_deref()) {
        (None, None) => None,
        (caller, driver) => Some(caller == driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_the_drivers_by_its_module() {
        let driver =
            |module: Option<&str>| Driver { name: "vfio-pci".into(), module: module.map(Into::into) };
        let (module, built_in) = (driver(Some("vfio_pci")), driver(None));
        let (own, other, core) = ("a+0x1 [vfio_pci]", "a+0x1 [nvmet]", "a+0x1");
        assert_eq!(is_by(own, Some(&module)), Some(true));
        assert_eq!(is_by(other, Some(&module)), Some(false));
        assert_eq!(is_by(core, Some(&module)), Some(false));
        assert_eq!(is_by(other, Some(&built_in)), Some(false));
        assert_eq!(is_by(core, Some(&built_in)), None);
        assert_eq!(is_by(own, None), None);
    }
}
