//! Builds a run for tests, record by record. The records go through the pipeline like those of a kernel.

use std::sync::Arc;

use p2p_trace_common::{Hook, Kind, Record, Ring, valid};
use p2p_trace_dump::Header;
use p2p_trace_model::{
    accounting::{HookState, HookStatus, Status},
    event::{DeviceAddress, Loss, Method, Task, user},
    pipeline::{Pipeline, Slice},
    rules,
    stream::order::Item,
    testing::{
        samples::{CLOCK, LIST_CODE, MS, NVME_CODE, NVMET_CODE, READER, SHELL, TARGET, WORKER, code},
        simulate::ARMED,
        status,
    },
};

use super::super::{
    history::{History, Identity},
    state::App,
    theme::{Palette, Theme},
    view_model::{Query, ViewModel},
};

pub(in crate::tui) const NVME0: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);
pub(in crate::tui) const NVME1: DeviceAddress = DeviceAddress::from_devfn(0, 4, 0);

const SIZE: u64 = 64 << 20;
/// The addresses of all code that allocates memory.
pub(in crate::tui) const CODE: [u64; 3] = [NVME_CODE, LIST_CODE, NVMET_CODE];

const fn physical(device: DeviceAddress) -> u64 {
    0xf400_0000 - (device.bus as u64 - 3) * SIZE
}

const fn pgmap(device: DeviceAddress) -> u64 {
    0xffff_8881_0345_6000 + device.bus as u64 * 0x1000
}

pub(super) const fn base(device: DeviceAddress) -> u64 {
    0xff11_da51_0000_0000 + physical(device)
}

/// The first `struct page` of a device's memory.
const fn pages(device: DeviceAddress) -> u64 {
    0xffff_ea12_4000_0000 + physical(device) / 4096 * 64
}

fn hook(hook: Hook) -> HookStatus {
    let absent = [Hook::MapSg, Hook::UnmapSg, Hook::MapSegment];
    let state = if absent.contains(&hook) {
        HookState::Absent
    } else if ARMED.contains(&hook) {
        HookState::Armed
    } else {
        HookState::Attached
    };
    HookStatus {
        hook,
        function: Some(hook.name().into()),
        method: (state == HookState::Attached).then_some(Method::Fentry),
        state,
        required: false,
        error: None,
        lost_without: "what it sees".into(),
    }
}

/// The hook that emits records of this kind. It has the same name.
fn hook_of(kind: Kind) -> Hook {
    Hook::from_name(kind.name()).unwrap()
}

pub(in crate::tui) fn status() -> Status {
    Status {
        hooks: Hook::ALL.iter().map(|&which| hook(which)).collect(),
        devices: Vec::new(),
        ..status::status()
    }
}

/// The header of the dump of such a run.
pub(in crate::tui) fn header() -> Header {
    Header::new(status(), CLOCK, 0, rules::Options::default())
}

/// A run, record by record.
pub(in crate::tui) struct Story {
    pub(in crate::tui) pipeline: Pipeline,
    pub(in crate::tui) history: History,
    pub(in crate::tui) now_ns: u64,
    /// All slices that went through the pipeline.
    pub(in crate::tui) slices: Vec<Slice>,
    pub(super) positions: [u64; 2],
    writer: user::Writer,
}

impl Story {
    pub(in crate::tui) fn new() -> Self {
        let status = status();
        let mut history = History::new(Arc::new(status.clone()), CLOCK, code());
        for (device, name) in [(NVME0, "nvme0"), (NVME1, "nvme1")] {
            let identity = Identity { name: Some(name.into()), driver: Some("nvme".into()) };
            history.identify(device, identity);
        }
        Self {
            pipeline: Pipeline::new(&status, rules::Options::default(), 0),
            history,
            now_ns: 0,
            slices: Vec::new(),
            positions: [0; 2],
            writer: user::Writer::new(1),
        }
    }

    fn item(&mut self, item: Item, time_ns: u64) {
        self.now_ns = self.now_ns.max(time_ns);
        let slice = Slice { items: vec![item], watermark_ns: time_ns + 1 };
        let history = &mut self.history;
        let advanced: Result<(), ()> = self.pipeline.advance(&slice, |step| {
            history.step(step, &code());
            Ok(())
        });
        assert_eq!(advanced, Ok(()));
        self.slices.push(slice);
        self.history.sample(&self.pipeline, time_ns);
    }

    /// Adds an event of a device.
    pub(in crate::tui) fn event(
        &mut self,
        device: DeviceAddress,
        kind: Kind,
        time_ns: u64,
        task: Task,
        fill: impl FnOnce(&mut Record),
    ) {
        let hot = matches!(
            kind,
            Kind::Alloc | Kind::Free | Kind::SglAlloc | Kind::SglFree | Kind::Mmap | Kind::PageFree
        );
        let ring = if hot { Ring::Hot } else { Ring::Rare };
        let position = self.positions[ring as usize];
        self.positions[ring as usize] += 1;
        let mut record = Record {
            kind: kind as u8,
            hook: hook_of(kind) as u8,
            seq: ring.sequence(position),
            time_ns,
            pid: task.pid,
            tgid: task.tgid,
            comm: task.comm,
            bus: device.bus,
            valid: valid::TASK | valid::DEVICE,
            ..user::blank(1)
        };
        fill(&mut record);
        self.item(Item::Record(record), time_ns);
    }

    fn step(&mut self, device: DeviceAddress, kind: Kind, time_ns: u64, task: Task) {
        self.event(device, kind, time_ns, task, |_| {});
    }

    pub(super) fn step_of_range(&mut self, device: DeviceAddress, kind: Kind, time_ns: u64, task: Task) {
        self.event(device, kind, time_ns, task, |record| {
            record.pgmap = pgmap(device);
            record.words = [physical(device), physical(device) + SIZE - 1, 0, 0];
            record.valid |= valid::PGMAP | valid::RANGE;
        });
    }

    pub(in crate::tui) fn idle(&mut self, until_ns: u64) {
        while self.now_ns < until_ns {
            let time_ns = until_ns.min(self.now_ns + 250 * MS);
            let record = self.writer.tick(time_ns);
            self.item(Item::Record(record), time_ns);
        }
    }

    /// The driver adds its memory and allocates its two queues.
    pub(in crate::tui) fn bind(&mut self, device: DeviceAddress, time_ns: u64) {
        self.event(device, Kind::Memremap, time_ns, WORKER, |record| {
            record.pgmap = pgmap(device);
            record.words = [physical(device), physical(device) + SIZE - 1, 0, base(device)];
            record.valid |= valid::PGMAP | valid::RANGE | valid::ADDR | valid::RET;
        });
        self.event(device, Kind::AddResource, time_ns + MS, WORKER, |record| {
            record.small = 2;
            record.words[0] = SIZE;
            record.valid |= valid::SIZE | valid::BAR | valid::RET;
        });
        self.event(device, Kind::Publish, time_ns + 2 * MS, WORKER, |record| {
            record.small = 1;
            record.valid |= valid::FLAG;
        });
        for queue in 0..2 {
            self.alloc(device, time_ns + (3 + queue) * MS, WORKER, queue << 16, 64 << 10, NVME_CODE);
        }
    }

    pub(in crate::tui) fn alloc(
        &mut self,
        device: DeviceAddress,
        time_ns: u64,
        task: Task,
        offset: u64,
        size: u64,
        caller: u64,
    ) {
        self.event(device, Kind::Alloc, time_ns, task, |record| {
            record.words = [base(device) + offset, size, caller, 1];
            record.valid |= valid::ADDR | valid::SIZE | valid::CALLER | valid::CGROUP;
        });
    }

    /// An NVMe target allocates a scatter list.
    pub(in crate::tui) fn list(&mut self, device: DeviceAddress, time_ns: u64, offset: u64) {
        self.alloc(device, time_ns, TARGET, offset, 4096, LIST_CODE);
        self.event(device, Kind::SglAlloc, time_ns + 1, TARGET, |record| {
            record.words = [0xffff_8881_0000_0000 + offset, 4096, NVMET_CODE, 1];
            record.number = 1;
            record.valid |= valid::SGL | valid::SIZE | valid::CALLER | valid::CGROUP | valid::COUNT;
        });
    }

    /// A process maps 16 pages.
    pub(in crate::tui) fn map(&mut self, device: DeviceAddress, time_ns: u64) {
        self.event(device, Kind::Mmap, time_ns, READER, |record| {
            record.words = [0x7f04_559a_7000, 64 << 10, pages(device) + 32 * 64, 1];
            record.number = 16;
            record.pgmap = pgmap(device);
            record.valid |= valid::PGMAP
                | valid::USER_ADDR
                | valid::SIZE
                | valid::PAGE
                | valid::COUNT
                | valid::RET
                | valid::CGROUP;
        });
    }

    /// An unbind up to the kill. The driver frees its queues.
    pub(in crate::tui) fn unbind(&mut self, device: DeviceAddress, time_ns: u64) {
        self.step(device, Kind::Unbind, time_ns, SHELL);
        self.step(device, Kind::DriverRemove, time_ns + 9 * MS, SHELL);
        for queue in 0..2 {
            self.event(device, Kind::Free, time_ns + 99 * MS, SHELL, |record| {
                record.words = [base(device) + (queue << 16), 64 << 10, 0, 0];
                record.valid |= valid::ADDR | valid::SIZE;
            });
        }
        self.step(device, Kind::DriverRemoved, time_ns + 110 * MS, SHELL);
        self.step(device, Kind::DevresRelease, time_ns + 121 * MS, SHELL);
        let steps = [Kind::UnmapMappings, Kind::MemremapRelease, Kind::Kill];
        for (at, kind) in steps.into_iter().enumerate() {
            self.step_of_range(device, kind, time_ns + (150 + 11 * at as u64) * MS, SHELL);
        }
    }

    /// The pages of [`Story::map`] are freed, which drops the last reference.
    pub(in crate::tui) fn drain(&mut self, device: DeviceAddress, time_ns: u64) {
        self.event(device, Kind::PageFree, time_ns, READER, |record| {
            record.words = [pages(device) + 32 * 64, 64 << 10, time_ns - MS, time_ns];
            record.number = 16;
            record.pgmap = pgmap(device);
            record.valid |= valid::PGMAP | valid::SIZE | valid::PAGE | valid::COUNT | valid::SPAN;
        });
        self.step_of_range(device, Kind::Drained, time_ns + MS, READER);
    }

    /// The rest of an unbind.
    pub(in crate::tui) fn finish(&mut self, device: DeviceAddress, time_ns: u64) {
        self.step_of_range(device, Kind::Remove, time_ns, SHELL);
        self.step_of_range(device, Kind::Unmapped, time_ns + 19 * MS, SHELL);
        self.event(device, Kind::Release, time_ns + 24 * MS, SHELL, |record| {
            record.valid |= valid::ALLOCATED;
        });
        let steps = [Kind::Released, Kind::DevresReleased, Kind::Unbound];
        for (at, kind) in steps.into_iter().enumerate() {
            self.step(device, kind, time_ns + (26 + 2 * at as u64) * MS, SHELL);
        }
    }

    /// Records of allocations and frees are lost.
    pub(in crate::tui) fn lose(&mut self, time_ns: u64) {
        let loss = Loss { from_ns: time_ns, to_ns: time_ns + MS, ..status::LOSS };
        self.item(Item::Loss(loss), time_ns);
    }

    /// The kernel skips a run of a hook on a teardown.
    pub(in crate::tui) fn skip(&mut self, time_ns: u64) {
        let loss = Loss::skipped(Ring::Rare, 1, time_ns - 1000 * MS, time_ns);
        let record = self.writer.late_loss(time_ns, &loss);
        self.item(Item::Record(record), time_ns);
    }

    /// The view model at this time.
    pub(in crate::tui) fn view_model(&self, query: &Query, now_ns: u64) -> ViewModel {
        let holders = self.history.holders(self.pipeline.model(), query, &code(), now_ns);
        self.history.view_model(&self.pipeline, &Arc::new(holders), now_ns)
    }

    /// A dashboard that shows the run.
    pub(in crate::tui) fn app(&self) -> App {
        let view_model = Arc::new(self.view_model(&Query::default(), self.now_ns));
        let mut app = App::new(Arc::clone(&view_model), Theme::new(Palette::Rich, false));
        app.update(view_model);
        app
    }
}
