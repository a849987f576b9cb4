//! Builds sequences of records of a device, and the host that they happen on.

use std::{fs, os::unix::fs::symlink, path::Path};

use p2p_trace_common::{Kind, Record, Ring, state, valid};
use p2p_trace_model::{
    event::{
        DeviceAddress, Loss, Reason, Task,
        decode::decode,
        user::{self, Run, SnapshotEnd},
    },
    state::Model,
    stream::assemble::Element,
    testing::samples::{MS, NVME_CODE, NVMET_CODE, READER, SHELL, TARGET, WORKER},
};
use p2p_trace_probe::{
    kernel::KernelRoot,
    testing::{procfs, sysfs},
};

pub(super) const DEVICE: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);
const PGMAP: u64 = 0xffff_8881_0345_6000;
const PHYSICAL: u64 = 0xf400_0000;
const SIZE: u64 = 64 << 20;
/// Start of the range in the direct map.
const BASE: u64 = 0xff11_da51_7400_0000;
/// The `struct page` at the start of the range.
const PAGES: u64 = 0xffff_ea12_4000_0000 + PHYSICAL / 4096 * 64;

/// Applies records to a model, one after the other.
pub(super) struct Story {
    pub(super) model: Model,
    writer: user::Writer,
    seq: u64,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { model: Model::new(), writer: user::Writer::new(1), seq: 0 }
    }

    /// An event of the device.
    pub(super) fn event(&mut self, kind: Kind, time_ns: u64, task: Task, fill: impl FnOnce(&mut Record)) {
        self.seq += 1;
        let mut record = Record {
            kind: kind as u8,
            seq: Ring::Hot.sequence(self.seq),
            time_ns,
            pid: task.pid,
            tgid: task.tgid,
            comm: task.comm,
            bus: DEVICE.bus,
            valid: valid::TASK | valid::DEVICE,
            ..user::blank(1)
        };
        fill(&mut record);
        self.model.apply(&Element::Event(Box::new(decode(&record).unwrap())));
    }

    fn step(&mut self, kind: Kind, time_ns: u64) {
        self.event(kind, time_ns, SHELL, |_| {});
    }

    fn step_of_range(&mut self, kind: Kind, time_ns: u64) {
        self.event(kind, time_ns, SHELL, |record| {
            record.pgmap = PGMAP;
            (record.words[0], record.words[1]) = (PHYSICAL, PHYSICAL + SIZE - 1);
            record.valid |= valid::PGMAP | valid::RANGE;
        });
    }

    /// The driver adds its memory.
    pub(super) fn add(&mut self, time_ns: u64) {
        self.event(Kind::Memremap, time_ns, WORKER, |record| {
            record.pgmap = PGMAP;
            record.words = [PHYSICAL, PHYSICAL + SIZE - 1, 0, BASE];
            record.valid |= valid::PGMAP | valid::RANGE | valid::ADDR | valid::RET;
        });
        self.event(Kind::AddResource, time_ns + 1, WORKER, |record| {
            record.small = 2;
            record.words[0] = SIZE;
            record.valid |= valid::SIZE | valid::BAR | valid::RET;
        });
    }

    fn alloc(&mut self, time_ns: u64, task: Task, offset: u64, size: u64, caller: u64) {
        self.event(Kind::Alloc, time_ns, task, |record| {
            record.words = [BASE + offset, size, caller, 1];
            record.valid |= valid::ADDR | valid::SIZE | valid::CALLER | valid::CGROUP;
        });
    }

    /// The driver allocates its two queues.
    pub(super) fn queues(&mut self, time_ns: u64) {
        self.alloc(time_ns, WORKER, 0, 64 << 10, NVME_CODE);
        self.alloc(time_ns + MS, WORKER, 64 << 10, 64 << 10, NVME_CODE);
    }

    /// The driver frees them.
    pub(super) fn free_queues(&mut self, time_ns: u64) {
        for offset in [0, 64 << 10] {
            self.event(Kind::Free, time_ns, SHELL, |record| {
                record.words = [BASE + offset, 64 << 10, 0, 0];
                record.valid |= valid::ADDR | valid::SIZE;
            });
        }
    }

    /// An NVMe target allocates a scatter list.
    pub(super) fn list(&mut self, time_ns: u64, offset: u64) {
        self.alloc(time_ns, TARGET, offset, 4096, NVMET_CODE - 1);
        self.event(Kind::SglAlloc, time_ns + 1, TARGET, |record| {
            record.words = [0xffff_8881_0000_0000 + offset, 4096, NVMET_CODE, 1];
            record.number = 1;
            record.valid |= valid::SGL | valid::SIZE | valid::CALLER | valid::CGROUP | valid::COUNT;
        });
    }

    /// A process maps 16 pages.
    pub(super) fn map(&mut self, time_ns: u64) {
        self.event(Kind::Mmap, time_ns, READER, |record| {
            record.words = [0x7f04_559a_7000, 64 << 10, PAGES + 32 * 64, 1];
            record.number = 16;
            record.pgmap = PGMAP;
            record.valid |= valid::PGMAP
                | valid::USER_ADDR
                | valid::SIZE
                | valid::PAGE
                | valid::COUNT
                | valid::RET
                | valid::CGROUP;
        });
    }

    /// An unbind up to the kill.
    pub(super) fn unbind(&mut self, time_ns: u64) {
        self.step(Kind::Unbind, time_ns);
        self.step(Kind::DriverRemove, time_ns + 10 * MS);
        self.free_queues(time_ns + 100 * MS);
        self.step(Kind::DriverRemoved, time_ns + 110 * MS);
        self.step(Kind::DevresRelease, time_ns + 120 * MS);
        self.step_of_range(Kind::UnmapMappings, time_ns + 150 * MS);
        self.step_of_range(Kind::MemremapRelease, time_ns + 160 * MS);
        self.step_of_range(Kind::Kill, time_ns + 170 * MS);
    }

    /// A snapshot of a range in this state, with these references and runs, while a task holds the lock.
    pub(super) fn snapshot(
        &mut self,
        time_ns: u64,
        bits: u16,
        refs: u64,
        runs: &[(u64, u64)],
        lock: Option<(Task, u64)>,
    ) {
        let allocated: u64 = runs.iter().map(|(_, size)| size).sum();
        self.event(Kind::RangeState, time_ns, SHELL, |record| {
            record.pgmap = PGMAP;
            record.words = [PHYSICAL, BASE, allocated, refs];
            record.number = (SIZE / 4096) as u32;
            record.small = if bits & state::BYPASSED == 0 { bits | state::POOLED } else { bits };
            record.valid |= valid::PGMAP
                | valid::PHYSICAL
                | valid::ADDR
                | valid::ALLOCATED
                | valid::REFS
                | valid::COUNT
                | valid::STATE;
            if bits & state::ATOMIC == 0 {
                record.valid |= valid::REFS_ESTIMATE;
            }
        });
        self.event(Kind::DeviceState, time_ns, lock.map_or(SHELL, |(task, _)| task), |record| {
            record.words = [0, 0, allocated, 0];
            (record.number, record.small) = (1, 1);
            record.valid |= valid::ALLOCATED | valid::COUNT | valid::FLAG;
            match lock {
                Some((_, waiting_ns)) => {
                    record.words[0] = waiting_ns;
                    record.valid |= valid::WAITING;
                }
                None => record.valid &= !valid::TASK,
            }
        });
        for &(offset, size) in runs {
            let run = Run { device: DEVICE, pgmap: Some(PGMAP), addr: BASE + offset, size };
            let record = self.writer.run(time_ns, &run);
            self.model.apply(&Element::User(record));
        }
        let snapshot_end = SnapshotEnd {
            device: DEVICE,
            from_ns: time_ns,
            to_ns: time_ns + MS,
            runs: runs.len() as u32,
            complete: true,
        };
        let record = self.writer.snapshot_end(&snapshot_end);
        self.model.apply(&Element::User(record));
    }

    /// A snapshot without an answer.
    pub(super) fn snapshot_in_vain(&mut self, time_ns: u64) {
        let snapshot_end =
            SnapshotEnd { device: DEVICE, from_ns: time_ns, to_ns: time_ns + MS, runs: 0, complete: false };
        let record = self.writer.snapshot_end(&snapshot_end);
        self.model.apply(&Element::User(record));
    }

    pub(super) fn lose(&mut self, from_ns: u64, to_ns: u64) {
        let loss = Loss {
            cpu: Some(1),
            ring: Ring::Hot,
            first: 100,
            last: 104,
            from_ns,
            to_ns,
            reason: Reason::Overwritten,
            hook: None,
        };
        self.model.apply(&Element::Loss(loss));
    }
}

/// The device with its driver, a reader, a shell that unbinds (see [`procfs::plant`]), and other holders.
pub(super) fn plant(folder: &Path) -> KernelRoot {
    let root = KernelRoot::at(folder);
    sysfs::plant(&root);
    symlink("../../../../module/nvme", root.sys.join("bus/pci/drivers/nvme/module")).unwrap();
    procfs::plant(&root);
    for (pid, comm) in [(29, "kworker/u8:1"), (310, "kworker/1:2H")] {
        procfs::plant_task(&root, pid, pid, comm, 'I', 1);
        procfs::plant_stack(&root, pid, pid, "[<0>] worker_thread+0x1/0x2\n");
    }
    fs::create_dir_all(root.sys.join("fs/cgroup")).unwrap();
    root
}
