//! References grouped by who took them: a million of them make a few lines.

use std::{cmp::Reverse, collections::HashMap};

use p2p_trace_model::{
    event::{Task, is_return_trampoline, names::RecordId},
    names::Hex,
    state::{At, Device, Reference, Taken, TakenBy},
};
use p2p_trace_probe::kernel::{devices::Driver, tasks::Liveness};

use super::{
    Facts,
    report::{Holder, HolderKind, TaskLine},
};

/// What references of one group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Taker {
    kind: HolderKind,
    task: Option<Task>,
    cgroup: Option<u64>,
    caller: Option<u64>,
    gone_ns: Option<u64>,
    unsure: bool,
}

/// The references of one group.
#[derive(Clone, Copy, Debug)]
struct Group {
    count: u64,
    references: u64,
    bytes: u64,
    oldest: At,
    newest_ns: u64,
}

/// What is known to be out of a device, the largest group first.
pub(super) fn holders(device: &Device, driver: Option<&Driver>, facts: &Facts<'_>) -> Vec<Holder> {
    let mut groups = HashMap::<Taker, Group>::new();
    for (_, reference) in device.references() {
        let taker = Taker::of(reference, &device.taken_by(reference), !device.is_sure(reference));
        let new = Group::of(reference);
        groups
            .entry(taker)
            .and_modify(|group| group.add(&new))
            .or_insert(new);
    }
    let mut holders: Vec<_> = groups
        .into_iter()
        .map(|(taker, group)| holder(&taker, &group, driver, facts))
        .collect();
    holders.sort_by_key(|holder| (Reverse(holder.bytes), holder.oldest_ns, holder.record.0));
    holders
}

impl Taker {
    const fn of(reference: &Reference, taken_by: &TakenBy<'_>, unsure: bool) -> Self {
        let kind = match reference.taken {
            Taken::Allocation { .. } => HolderKind::Allocation,
            Taken::ScatterList { .. } => HolderKind::ScatterList,
            Taken::Mmap { .. } => HolderKind::Mmap,
        };
        Self {
            kind,
            task: taken_by.task,
            cgroup: taken_by.cgroup,
            caller: taken_by.caller,
            gone_ns: taken_by.gone_since_ns,
            unsure,
        }
    }
}

impl Group {
    const fn of(reference: &Reference) -> Self {
        Self {
            count: 1,
            references: reference.count(),
            bytes: reference.bytes(),
            oldest: reference.at,
            newest_ns: reference.at.time_ns,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.references = self.references.saturating_add(other.references);
        self.bytes = self.bytes.saturating_add(other.bytes);
        if (other.oldest.time_ns, other.oldest.id) < (self.oldest.time_ns, self.oldest.id) {
            self.oldest = other.oldest;
        }
        self.newest_ns = self.newest_ns.max(other.newest_ns);
    }
}

fn holder(taker: &Taker, group: &Group, driver: Option<&Driver>, facts: &Facts<'_>) -> Holder {
    let caller = taker.caller.and_then(|address| facts.symbols.symbolize(address));
    // By kretprobe the caller's place may have held its trampoline: that is nobody.
    let is_known = !caller.as_deref().is_some_and(is_return_trampoline);
    let caller = caller.filter(|_| is_known);
    let process = match (taker.gone_ns, taker.task) {
        (Some(_), _) => Liveness::Gone,
        (None, Some(task)) => facts.host.tasks.liveness(task.tgid, group.newest_ns),
        (None, None) => Liveness::Unknown,
    };
    Holder {
        kind: taker.kind,
        count: group.count,
        references: group.references,
        bytes: group.bytes,
        taken_by: taker.task.as_ref().map(task_line),
        process,
        gone_ns: taker.gone_ns,
        cgroup: taker
            .cgroup
            .and_then(|id| facts.host.cgroups.path(id))
            .map(str::to_owned),
        cgroup_id: taker.cgroup,
        by_driver: caller.as_deref().and_then(|caller| is_by(caller, driver)),
        caller,
        caller_addr: taker.caller.filter(|_| is_known).map(Hex),
        oldest: facts.clock.rfc3339(group.oldest.time_ns),
        oldest_ns: group.oldest.time_ns,
        newest_ns: group.newest_ns,
        age_ns: facts.now_ns.saturating_sub(group.oldest.time_ns),
        record: RecordId(group.oldest.id),
        unsure: taker.unsure,
    }
}

pub(super) fn task_line(task: &Task) -> TaskLine {
    TaskLine {
        pid: task.pid,
        tgid: task.tgid,
        comm: task.name(),
    }
}

/// Whether a function is the driver's. Where both are built into the kernel nothing tells.
fn is_by(caller: &str, driver: Option<&Driver>) -> Option<bool> {
    let module = caller
        .rsplit_once(" [")
        .and_then(|(_, module)| module.strip_suffix(']'));
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
        let driver = |module: Option<&str>| Driver {
            name: "vfio-pci".to_owned(),
            module: module.map(str::to_owned),
        };
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
