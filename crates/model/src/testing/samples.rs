//! Samples for the tests of several modules: times, code addresses with names, and tasks.

use p2p_trace_common::record::COMM_LEN;

use crate::{
    event::{Names, Task},
    units::Clock,
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// A clock on which 0 s is 2026-11-22 18:00 UTC.
pub const CLOCK: Clock = Clock { boottime_ns: 0, realtime_ns: 1_795_370_400_000_000_000, utc_offset_s: 0 };

/// Addresses where an NVMe driver, an NVMe target, and the kernel itself allocate memory.
pub const NVME_CODE: u64 = 0xffff_ffff_c012_3177;
pub const NVMET_CODE: u64 = 0xffff_ffff_c022_208f;
pub const LIST_CODE: u64 = 0xffff_ffff_8188_404d;

const CODE: [(u64, &str); 3] = [
    (NVME_CODE, "nvme_alloc_queue+0x177 [nvme]"),
    (NVMET_CODE, "nvmet_req_alloc_sgls+0x8f [nvmet]"),
    (LIST_CODE, "pci_p2pmem_alloc_sgl+0x4d"),
];

/// Names for the code addresses of two modules and of the kernel.
#[must_use]
pub fn code() -> Names {
    let names = Names::default();
    for (address, name) in CODE {
        names.learn(address, name.into());
    }
    names
}

/// A process with one thread.
pub const fn task(pid: u32, name: &[u8]) -> Task {
    let mut comm = [0; COMM_LEN];
    comm.split_at_mut(name.len()).0.copy_from_slice(name);
    Task { pid, tgid: pid, comm }
}

/// The tasks of the stories.
pub const WORKER: Task = task(29, b"kworker/u8:1");
pub const TARGET: Task = task(310, b"kworker/1:2H");
pub const READER: Task = task(726, b"p2pdio");
pub const SHELL: Task = task(735, b"sh");
