//! A small simulated kernel that allocates and frees p2p memory and writes the records, as a reference for
//! tests of the model and of the rules.

use std::collections::BTreeMap;

use p2p_trace_common::{Hook, Kind, Record, Ring, record::COMM_LEN};

use crate::{
    event::{
        DeviceAddress, Event, Method, Range, Span, Task,
        decode::{self, PAGE_SIZE},
        user,
    },
    stream::assemble::Element,
};

mod faults;
pub mod garbage;
mod mapping;
mod memory;
pub mod play;
mod snapshot;
mod teardown;

pub use faults::Fault;
pub use teardown::Order;
use teardown::Script;

/// The run of every record.
const RUN: u64 = 7;
/// Time between two records.
const STEP_NS: u64 = 1_000_000;
/// Time between two ticks when nothing happens.
const TICK_NS: u64 = 250_000_000;
/// Hooks that are attached only while a teardown is pending.
pub const ARMED: [Hook; 6] = [
    Hook::DmaMapSg,
    Hook::DmaMapPage,
    Hook::DmaMapPhys,
    Hook::DmaIovaLink,
    Hook::BlkDmaMap,
    Hook::AllocEnter,
];
/// A possible value of `page_offset_base`.
pub const DIRECT_MAP: u64 = 0xffff_8881_4000_0000;
/// A possible value of `vmemmap_base`.
pub const VMEMMAP: u64 = 0xffff_ea12_4000_0000;

/// The `struct page` of a direct-map address.
pub const fn struct_page(addr: u64) -> u64 {
    VMEMMAP + (addr - DIRECT_MAP) / PAGE_SIZE * crate::state::PAGE_STRUCT_SIZE
}

/// Identifies an allocation; never reused.
pub type Token = usize;

/// Outstanding memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outstanding {
    pub device: usize,
    pub kind: Kind,
    pub pid: u32,
    /// Direct-map addresses of its outstanding pages.
    pub pages: Vec<u64>,
    sgl: u64,
    /// A part of it was freed, and its reference with that part.
    partial: bool,
    /// It is mapped for DMA.
    mapped: bool,
}

#[derive(Clone, Debug)]
struct SimRange {
    pgmap: u64,
    physical: Range,
    killed: bool,
    drained: bool,
    freed: bool,
    /// References that no allocation explains.
    stray: u64,
}

impl SimRange {
    const fn base(&self) -> u64 {
        DIRECT_MAP + self.physical.start
    }

    const fn contains(&self, addr: u64) -> bool {
        addr >= self.base() && addr < self.base() + self.physical.size()
    }
}

#[derive(Clone, Debug)]
struct SimDevice {
    address: DeviceAddress,
    /// In the order of the pool: the newest first.
    ranges: Vec<SimRange>,
    script: Option<Script>,
    crashed: bool,
}

#[derive(Clone, Debug)]
struct Burst {
    pgmap: u64,
    device: usize,
    pid: u32,
    first: u64,
    count: u32,
    span: Span,
}

#[derive(Clone, Debug)]
pub struct Kernel {
    pub now_ns: u64,
    pub elements: Vec<Element>,
    devices: Vec<SimDevice>,
    outstanding: BTreeMap<Token, Outstanding>,
    tokens: usize,
    burst: Option<Burst>,
    positions: [u64; 2],
    writer: u64,
    /// Whether the armed hooks are attached. They are attached at the first step of a teardown with
    /// outstanding memory, or of a device with more than one range, and until no teardown is pending.
    armed: Option<bool>,
    /// Whether `pci_free_p2pmem` is a separate call within `pci_p2pmem_free_sgl`, not inlined.
    pub nested_frees: bool,
    /// Whether the kernel's own counts can be read as a range is removed.
    pub counts_at_removal: bool,
}

/// A task with this number.
pub fn task(pid: u32) -> Task {
    let mut comm = [0; COMM_LEN];
    comm[..4].copy_from_slice(b"task");
    comm[4] = b'a' + (pid % 26) as u8;
    Task { pid, tgid: pid, comm }
}

impl Kernel {
    /// A kernel with devices that have no p2p memory yet.
    pub fn new(devices: u8) -> Self {
        let device = |number| SimDevice {
            address: DeviceAddress::from_devfn(0, 1 + number, 0),
            ranges: Vec::new(),
            script: None,
            crashed: false,
        };
        Self {
            now_ns: 1_000_000_000_000,
            elements: Vec::new(),
            devices: (0..devices).map(device).collect(),
            outstanding: BTreeMap::new(),
            tokens: 0,
            burst: None,
            positions: [0; 2],
            writer: 0,
            armed: None,
            nested_frees: false,
            counts_at_removal: true,
        }
    }

    pub fn address(&self, device: usize) -> DeviceAddress {
        self.devices[device].address
    }

    /// The outstanding memory of a device.
    pub fn outstanding(&self, device: usize) -> impl Iterator<Item = (Token, &Outstanding)> {
        let of = move |entry: &(&Token, &Outstanding)| entry.1.device == device;
        self.outstanding.iter().filter(of).map(|(&token, held)| (token, held))
    }

    /// The holder of each outstanding page of a device.
    pub fn pages(&self, device: usize) -> BTreeMap<u64, u32> {
        let pages =
            self.outstanding(device).flat_map(|(_, held)| held.pages.iter().map(|&page| (page, held.pid)));
        pages.collect()
    }

    /// Whether the device has memory.
    pub fn is_bound(&self, device: usize) -> bool {
        !self.devices[device].ranges.is_empty()
    }

    /// The pgmaps of the device's ranges, the newest first.
    pub fn pgmaps(&self, device: usize) -> Vec<u64> {
        self.devices[device].ranges.iter().map(|range| range.pgmap).collect()
    }

    const fn pass(&mut self) -> u64 {
        self.now_ns += STEP_NS;
        self.now_ns
    }

    /// Writes an event at the current time, completed by `fill`.
    pub fn event(&mut self, device: usize, kind: Kind, hook: Hook, pid: u32, fill: impl FnOnce(&mut Event)) {
        let time_ns = self.pass();
        let is_armed = ARMED.contains(&hook);
        let ring = match kind {
            Kind::Alloc
            | Kind::Free
            | Kind::SglAlloc
            | Kind::SglFree
            | Kind::Mmap
            | Kind::PageFree
            | Kind::Map
            | Kind::Unmap
            | Kind::VirtToBus
                if !is_armed =>
            {
                Ring::Hot
            }
            _ => Ring::Rare,
        };
        let position = self.positions[ring as usize];
        self.positions[ring as usize] += 1;
        let record = Record {
            kind: kind as u8,
            hook: hook as u8,
            time_ns,
            seq: ring.sequence(position),
            ..user::blank(RUN)
        };
        let mut event = decode::decode(&record).unwrap();
        event.failed = false;
        event.armed = is_armed;
        event.device = Some(self.devices[device].address);
        event.task = Some(task(pid));
        fill(&mut event);
        self.elements.push(Element::Event(Box::new(event)));
    }

    /// Writes a record of user space.
    pub fn user(&mut self, write: impl FnOnce(&mut user::Writer, u64) -> Record) {
        let time_ns = self.pass();
        let mut writer = user::Writer::new(RUN);
        let record = write(&mut writer, time_ns);
        let seq = self.writer;
        self.writer += 1;
        self.elements.push(Element::User(Record { seq, ..record }));
    }

    fn range(&self, device: usize, pgmap: u64) -> &SimRange {
        let mut ranges = self.devices[device].ranges.iter();
        ranges.find(|range| range.pgmap == pgmap).unwrap()
    }

    fn range_mut(&mut self, device: usize, pgmap: u64) -> &mut SimRange {
        let mut ranges = self.devices[device].ranges.iter_mut();
        ranges.find(|range| range.pgmap == pgmap).unwrap()
    }

    /// Lets time pass without events.
    pub fn idle(&mut self, ns: u64) {
        let until_ns = self.now_ns + ns;
        while self.now_ns < until_ns {
            self.now_ns = until_ns.min(self.now_ns + TICK_NS);
            self.user(user::Writer::tick);
        }
    }

    /// Reports that these hooks are attached or detached.
    pub fn attach(&mut self, hooks: impl IntoIterator<Item = Hook>, attached: bool) {
        for hook in hooks {
            let change =
                user::Change { hook, attached, method: Method::Fentry, armed: ARMED.contains(&hook) };
            self.user(|writer, time_ns| writer.attach(time_ns, &change));
        }
    }

    /// A driver binds and adds ranges with these numbers of pages.
    pub fn bind(&mut self, device: usize, pid: u32, ranges: &[u64]) {
        for (number, &pages) in ranges.iter().enumerate() {
            // Addresses and pointers are reused.
            let start = 0x8000_0000 + (device as u64) * 0x1000_0000 + (number as u64) * 0x100_0000;
            self.add_range(device, pid, start, pages);
        }
        self.event(device, Kind::Publish, Hook::Publish, pid, |event| {
            event.flag = Some(true);
        });
    }

    /// `pci_p2pdma_add_resource`.
    pub fn add_range(&mut self, device: usize, pid: u32, start: u64, pages: u64) {
        let number = self.devices[device].ranges.len();
        let pgmap = 0xffff_8880_0100_0000 + (device as u64) * 0x1000 + (number as u64) * 0x100;
        let physical = Range { start, end: start + pages * PAGE_SIZE - 1 };
        self.event(device, Kind::Memremap, Hook::Memremap, pid, |event| {
            event.pgmap = Some(pgmap);
            event.range = Some(physical);
            event.addr = Some(DIRECT_MAP + start);
            event.ret = Some(0);
        });
        self.event(device, Kind::AddResource, Hook::AddResource, pid, |event| {
            event.bar = Some(number as u16);
            event.ret = Some(0);
        });
        let range = SimRange { pgmap, physical, killed: false, drained: false, freed: false, stray: 0 };
        self.devices[device].ranges.insert(0, range);
    }
}
