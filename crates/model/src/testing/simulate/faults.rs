//! What must not happen, done on purpose.

use p2p_trace_common::{Hook, Kind};

use super::{Kernel, Order, Token, mapping::CLIENT, struct_page};
use crate::event::decode::PAGE_SIZE;

/// The task that does it.
pub(super) const CULPRIT: u32 = 90;
/// The task that tears down.
pub(super) const UNBINDER: u32 = 91;
/// The task that has memory taken.
pub(super) const HOLDER: u32 = 92;
/// How long what takes too long takes.
pub(super) const LONG_NS: u64 = 7_000_000_000;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The order of 2018, with memory that is given back late.
    RemovedFirst,
    /// A range drains with memory out, and the pool is destroyed with it.
    DestroyedInUse,
    /// The reference is killed twice.
    KilledTwice,
    /// Somebody asks for memory in vain between the end of a range and that of the pool.
    DeadChunkAlloc,
    /// The same, and another range serves it.
    DeadChunkServedElsewhere,
    /// A user mapping is asked for meanwhile.
    DeadChunkMmap,
    /// Somebody asks for memory meanwhile, and never comes back.
    DeadChunkCrash,
    /// Memory of a range that has drained is given out.
    AllocAfterDrain,
    /// The same by a user mapping.
    MmapAfterDrain,
    /// What nobody has is given back.
    FreeNeverAllocated,
    /// What was given back is given back again.
    FreeTwice,
    /// A scatter list is given back twice.
    ListFreeTwice,
    /// More is given back than was taken.
    FreeMore,
    /// Less is given back than was taken.
    FreeLess,
    /// Pages that no mapping took are given back.
    PagesNeverAllocated,
    /// A range is added where one is.
    Overlap,
    /// A range goes while it is mapped for DMA.
    RemovedWhileMapped,
    /// What is not mapped is unmapped.
    UnmapNotMapped,
    /// A removed range is mapped for DMA, and the mapping goes the generic way.
    MapRemoved,
    /// The bus address of memory in a removed range is asked for.
    VirtToBusRemoved,
    /// Memory of a removed range is given out.
    AllocRemoved,
    /// A removed range is mapped by a user.
    MmapRemoved,
    /// Somebody has references that no allocation explains.
    Stray,
    /// A user mapping fails in the middle, and keeps its own reference of the range.
    MmapLeaks,
    /// Memory is given back late.
    LateDrain,
    /// The driver takes its time.
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
    /// Does it to a device. Returns how many elements there were before the first that belongs to it: from there on
    /// all of it can be seen.
    pub fn inject(&mut self, fault: Fault, device: usize) -> usize {
        self.flush();
        for other in 0..self.devices.len() {
            while self.advance(other) {}
        }
        // A life of its own: what is in the way is over.
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
                self.beside_dead(fault, device);
            }
            Fault::AllocAfterDrain | Fault::MmapAfterDrain => self.of_killed(fault, device, Kind::Remove),
            Fault::MapRemoved | Fault::VirtToBusRemoved | Fault::AllocRemoved | Fault::MmapRemoved => {
                self.of_killed(fault, device, Kind::Unmapped);
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

    fn beside_dead(&mut self, fault: Fault, device: usize) {
        // The older range is held, so that its pool lives on.
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

    /// Something is done with the newer range, which is torn down as far as before this step; nothing of it is kept.
    fn of_killed(&mut self, fault: Fault, device: usize, before: Kind) {
        // What is taken at the kill is what the armed hooks are attached for.
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
        // Where it is cannot be told from the other any more.
        self.devices[other].ranges.remove(0);
        self.devices[device].crashed = true;
        self.devices[other].crashed = true;
    }

    /// So many references that no allocation explains are found; in the end they are dropped, so that the run goes on.
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
        let take = |kernel: &mut Self| -> Token { kernel.alloc(device, HOLDER, 4).unwrap() };
        match fault {
            Fault::FreeNeverAllocated => {
                // Its last byte, which no allocation begins with.
                let end =
                    self.devices[device].ranges[0].base() + self.devices[device].ranges[0].physical.size();
                self.free_event(device, CULPRIT, end - 8, 8);
            }
            Fault::FreeTwice => {
                let token = take(self);
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
                let token = take(self);
                let out = self.outstanding.remove(&token).unwrap();
                self.free_event(device, CULPRIT, out.pages[0], 5 * PAGE_SIZE);
            }
            Fault::FreeLess => {
                let token = take(self);
                let out = self.outstanding.get_mut(&token).unwrap();
                out.partial = true;
                let addr = out.pages.remove(0);
                self.free_event(device, CULPRIT, addr, PAGE_SIZE);
            }
            Fault::PagesNeverAllocated => {
                // From a mapping it is known where the pages lie.
                let token = self.mmap(device, HOLDER, 2).unwrap();
                let addr = self.outstanding[&token].pages[0];
                self.free_page(device, CULPRIT, addr + 3 * PAGE_SIZE);
                self.flush();
                self.free(token, HOLDER, usize::MAX);
            }
            Fault::RemovedWhileMapped => {
                let token = take(self);
                self.map(token, CULPRIT);
                self.outstanding.get_mut(&token).unwrap().mapped = false;
                self.free(token, HOLDER, usize::MAX);
                self.unbind(device, UNBINDER);
            }
            _ => {
                let token = take(self);
                self.unmap(token, CULPRIT);
                self.free(token, HOLDER, usize::MAX);
            }
        }
    }
}
