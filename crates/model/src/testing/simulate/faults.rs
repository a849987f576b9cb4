//! Faults to inject into the simulated kernel.

use p2p_trace_common::{Hook, Kind};

use super::{Kernel, Order, Token, mapping::CLIENT, struct_page};
use crate::event::decode::PAGE_SIZE;

/// The task that causes the fault.
pub(super) const CULPRIT: u32 = 90;
/// The task that unbinds.
pub(super) const UNBINDER: u32 = 91;
/// The task that holds memory.
pub(super) const HOLDER: u32 = 92;
/// A duration longer than every budget.
pub(super) const LONG_NS: u64 = 7_000_000_000;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The teardown order of 2018: removal before the drain, with memory that is freed late.
    RemovedFirst,
    /// A range drains with outstanding memory, and the pool is destroyed with it.
    DestroyedInUse,
    /// The reference is killed twice.
    KilledTwice,
    /// An allocation fails after the end of a range and before the end of the pool.
    DeadChunkAlloc,
    /// An allocation at that time is served from another range.
    DeadChunkServedElsewhere,
    /// A user mapping is requested at that time.
    DeadChunkMmap,
    /// An allocation is requested at that time and never returns.
    DeadChunkCrash,
    /// Memory of a drained range is allocated.
    AllocAfterDrain,
    /// Memory of a drained range is allocated by a user mapping.
    MmapAfterDrain,
    /// Memory that was never allocated is freed.
    FreeNeverAllocated,
    /// Memory is freed twice.
    FreeTwice,
    /// A scatter list is freed twice.
    ListFreeTwice,
    /// A free is larger than the allocation.
    FreeMore,
    /// A free is smaller than the allocation.
    FreeLess,
    /// Pages that no mapping allocated are freed.
    PagesNeverAllocated,
    /// A range is added that overlaps another one.
    Overlap,
    /// A range is removed while it is mapped for DMA.
    RemovedWhileMapped,
    /// Memory that is not mapped is unmapped.
    UnmapNotMapped,
    /// A removed range is mapped for DMA by the generic functions.
    MapRemoved,
    /// The bus address of memory in a removed range is requested.
    VirtToBusRemoved,
    /// Memory of a removed range is allocated.
    AllocRemoved,
    /// A removed range is mapped into user space.
    MmapRemoved,
    /// There are references that no allocation explains.
    Stray,
    /// A user mapping fails in the middle, and keeps its own reference to the range.
    MmapLeaks,
    /// Memory is freed late.
    LateDrain,
    /// The driver's remove takes too long.
    SlowRemove,
}

impl Fault {
    pub const ALL: [Self; 26] = [
        Self::RemovedFirst,
        Self::DestroyedInUse,
        Self::KilledTwice,
        Self::DeadChunkAlloc,
        Self::DeadChunkServedElsewhere,
        Self::DeadChunkMmap,
        Self::DeadChunkCrash,
        Self::AllocAfterDrain,
        Self::MmapAfterDrain,
        Self::FreeNeverAllocated,
        Self::FreeTwice,
        Self::ListFreeTwice,
        Self::FreeMore,
        Self::FreeLess,
        Self::PagesNeverAllocated,
        Self::Overlap,
        Self::RemovedWhileMapped,
        Self::UnmapNotMapped,
        Self::MapRemoved,
        Self::VirtToBusRemoved,
        Self::AllocRemoved,
        Self::MmapRemoved,
        Self::Stray,
        Self::MmapLeaks,
        Self::LateDrain,
        Self::SlowRemove,
    ];
}

impl Kernel {
    /// Injects a fault into a device. Returns the index of the first element of the fault; all elements from
    /// there on can be observed.
    pub fn inject(&mut self, fault: Fault, device: usize) -> usize {
        self.flush();
        for other in 0..self.devices.len() {
            while self.advance(other) {}
        }
        // Start from a fresh bind.
        if self.is_bound(device) {
            self.unbind(device, UNBINDER);
        }
        self.bind(device, 5, &[16, 8]);
        self.snapshot(device, true);
        let place = self.elements.len();
        match fault {
            Fault::RemovedFirst => self.teardown_with_holder(device, Order::RemovedFirst),
            Fault::DestroyedInUse => self.teardown_with_holder(device, Order::DestroyedInUse),
            Fault::KilledTwice => self.tear_down(device, UNBINDER, Order::KilledTwice),
            Fault::DeadChunkAlloc
            | Fault::DeadChunkServedElsewhere
            | Fault::DeadChunkMmap
            | Fault::DeadChunkCrash => {
                self.use_dead_chunk(fault, device);
            }
            Fault::AllocAfterDrain | Fault::MmapAfterDrain => {
                self.use_killed_range(fault, device, Kind::Remove);
            }
            Fault::MapRemoved | Fault::VirtToBusRemoved | Fault::AllocRemoved | Fault::MmapRemoved => {
                self.use_killed_range(fault, device, Kind::Unmapped);
            }
            Fault::Overlap => self.overlap(device),
            Fault::Stray => {
                self.alloc(device, HOLDER, 1);
                self.stray(device, 3);
            }
            Fault::MmapLeaks => {
                let token = self.mmap_failing(device, CULPRIT, 3, 2);
                self.free(token.unwrap(), CULPRIT, usize::MAX);
                self.stray(device, 1);
            }
            Fault::LateDrain => {
                self.alloc(device, HOLDER, 4);
                self.begin(device, UNBINDER, Order::Right);
                while !self.is_waiting(device) {
                    self.advance(device);
                }
                self.idle(LONG_NS);
                while self.advance(device) {}
            }
            Fault::SlowRemove => {
                self.begin(device, UNBINDER, Order::Right);
                self.advance_to(device, Kind::DevresRelease);
                self.idle(LONG_NS);
                while self.advance(device) {}
            }
            _ => self.wrong_free(fault, device),
        }
        self.flush();
        place
    }

    fn teardown_with_holder(&mut self, device: usize, order: Order) {
        self.alloc(device, HOLDER, 4);
        self.tear_down(device, UNBINDER, order);
    }

    fn use_dead_chunk(&mut self, fault: Fault, device: usize) {
        // The older range has outstanding memory, so the pool lives on.
        let base = self.devices[device].ranges[1].base();
        self.alloc_event(device, HOLDER, Some(base), 4);
        self.hold(device, Kind::Alloc, HOLDER, base, 4);
        self.begin(device, UNBINDER, Order::Right);
        while !self.has_dead_chunk(device) {
            self.advance(device);
        }
        let dead = self.devices[device].ranges[0].pgmap;
        let hook = if fault == Fault::DeadChunkMmap { Hook::MmapEnter } else { Hook::AllocEnter };
        if self.armed == Some(true) {
            self.event(device, Kind::AllocAttempt, hook, CULPRIT, |event| {
                event.pgmap = Some(dead);
                event.size = (hook == Hook::AllocEnter).then_some(PAGE_SIZE);
            });
        }
        match fault {
            Fault::DeadChunkCrash => {}
            Fault::DeadChunkAlloc => self.alloc_event(device, CULPRIT, None, 1),
            Fault::DeadChunkServedElsewhere => {
                let token = self.alloc(device, CULPRIT, 1);
                self.free(token.unwrap(), CULPRIT, usize::MAX);
            }
            _ => {
                let token = self.mmap(device, CULPRIT, 1);
                self.free(token.unwrap(), CULPRIT, usize::MAX);
            }
        }
        while self.advance(device) {}
    }

    /// Uses the newer range after its teardown has reached the step before `before`. No use is kept.
    fn use_killed_range(&mut self, fault: Fault, device: usize, before: Kind) {
        // Memory that is outstanding at the kill causes the armed hooks to be attached.
        self.alloc(device, HOLDER, 1);
        self.begin(device, UNBINDER, Order::Right);
        self.advance_to(device, before);
        let range = self.devices[device].ranges[0].clone();
        let (addr, pgmap) = (range.base(), range.pgmap);
        match fault {
            Fault::AllocAfterDrain | Fault::AllocRemoved => {
                self.alloc_event(device, CULPRIT, Some(addr), 1);
                self.free_event(device, CULPRIT, addr, PAGE_SIZE);
            }
            Fault::MmapAfterDrain | Fault::MmapRemoved => {
                self.event(device, Kind::Mmap, Hook::Mmap, CULPRIT, |event| {
                    event.page = Some(struct_page(addr));
                    event.count = Some(1);
                    event.pgmap = Some(pgmap);
                    event.ret = Some(0);
                });
                self.free_page(device, CULPRIT, addr);
            }
            Fault::VirtToBusRemoved => {
                self.event(device, Kind::VirtToBus, Hook::VirtToBus, CULPRIT, |event| {
                    event.addr = Some(addr + 8);
                });
            }
            _ => self.event(device, Kind::Map, Hook::DmaMapSg, CULPRIT, |event| {
                event.page = Some(struct_page(addr));
                event.pgmap = Some(pgmap);
                event.client = Some(CLIENT);
            }),
        }
        while self.advance(device) {}
    }

    fn overlap(&mut self, device: usize) {
        let start = self.devices[device].ranges[0].physical.start;
        let other = (device + 1) % self.devices.len();
        self.add_range(other, CULPRIT, start + PAGE_SIZE, 8);
        // The simulator can no longer distinguish the two ranges.
        self.devices[other].ranges.remove(0);
        self.devices[device].crashed = true;
        self.devices[other].crashed = true;
    }

    /// Adds unexplained references. They are dropped at the end, so that the run continues.
    pub fn stray(&mut self, device: usize, references: u64) {
        self.devices[device].ranges[0].stray = references;
        self.begin(device, UNBINDER, Order::Right);
        while !self.is_waiting(device) {
            self.advance(device);
        }
        self.snapshot(device, true);
        self.snapshot(device, true);
        while self.advance(device) {}
    }

    fn wrong_free(&mut self, fault: Fault, device: usize) {
        let alloc = |kernel: &mut Self| -> Token { kernel.alloc(device, HOLDER, 4).unwrap() };
        match fault {
            Fault::FreeNeverAllocated => {
                // The last bytes of the range, where no allocation starts.
                let end =
                    self.devices[device].ranges[0].base() + self.devices[device].ranges[0].physical.size();
                self.free_event(device, CULPRIT, end - 8, 8);
            }
            Fault::FreeTwice => {
                let token = alloc(self);
                let addr = self.outstanding[&token].pages[0];
                self.free(token, HOLDER, usize::MAX);
                self.free_event(device, CULPRIT, addr, 4 * PAGE_SIZE);
            }
            Fault::ListFreeTwice => {
                let token = self.alloc_list(device, HOLDER, 4).unwrap();
                let sgl = self.outstanding[&token].sgl;
                self.free(token, HOLDER, usize::MAX);
                self.event(device, Kind::SglFree, Hook::SglFree, CULPRIT, |event| {
                    event.sgl = Some(sgl);
                });
            }
            Fault::FreeMore => {
                let token = alloc(self);
                let held = self.outstanding.remove(&token).unwrap();
                self.free_event(device, CULPRIT, held.pages[0], 5 * PAGE_SIZE);
            }
            Fault::FreeLess => {
                let token = alloc(self);
                let held = self.outstanding.get_mut(&token).unwrap();
                held.partial = true;
                let addr = held.pages.remove(0);
                self.free_event(device, CULPRIT, addr, PAGE_SIZE);
            }
            Fault::PagesNeverAllocated => {
                // A mapping shows where the pages are.
                let token = self.mmap(device, HOLDER, 2).unwrap();
                let addr = self.outstanding[&token].pages[0];
                self.free_page(device, CULPRIT, addr + 3 * PAGE_SIZE);
                self.flush();
                self.free(token, HOLDER, usize::MAX);
            }
            Fault::RemovedWhileMapped => {
                let token = alloc(self);
                self.map(token, CULPRIT);
                self.outstanding.get_mut(&token).unwrap().mapped = false;
                self.free(token, HOLDER, usize::MAX);
                self.unbind(device, UNBINDER);
            }
            _ => {
                let token = alloc(self);
                self.unmap(token, CULPRIT);
                self.free(token, HOLDER, usize::MAX);
            }
        }
    }
}
