//! The machines that the scenarios run in.

use crate::guest::{Card, Clock, Machine, Nvme, Slot};

/// Size of the p2p memory.
const CMB_MIB: u32 = 64;
/// Memory of one NVMe queue.
pub(crate) const QUEUE_BYTES: u64 = 64 * 1024;
/// Memory that the NVMe driver allocates: two queues.
pub(crate) const QUEUES: u64 = 2 * QUEUE_BYTES;
/// Size of the card's memory: more than a hundred thousand pages.
const CARD_MIB: u32 = 512;
/// Speed limit of the slow drive: 64 KiB take four seconds.
pub(super) const SLOW: u64 = 16 * 1024;

/// Memory of a guest whose tracer has rings for many CPUs.
const LARGE_MIB: u32 = 1024;

/// Memory that the firmware reports as persistent (`/dev/pmem0`).
const PERSISTENT: &str = "memmap=128M!256M";
/// Hotplugged memory is used only for movable pages, so that it can be unplugged.
const MOVABLE: &str = "memhp_default_state=online_movable";
/// Maximum memory of the guest that a memory module can be added to.
const ROOM_MIB: u32 = 1024;

/// Size of a disk that outlives the guest.
const DISK_MIB: u64 = 64;

/// Memory reserved for the kernel that saves a dump.
const CRASH_KERNEL_MIB: u32 = 256;

/// Memory that survives a reset, because no kernel uses it, and the parameters that name it to its driver.
const RESERVED: &str = "memmap=1M$0x8000000";
pub(crate) const RAMOOPS: &str = "mem_address=0x8000000 mem_size=0x100000 record_size=0x10000 max_reason=2 console_size=0 ftrace_size=0 pmsg_size=0";

/// The drive with p2p memory.
pub(crate) fn memory_drive() -> Nvme {
    Nvme::new("memory", Slot::Switch(0)).with_cmb(CMB_MIB)
}

pub(crate) fn slow_drive() -> Nvme {
    Nvme::new("slow", Slot::Switch(1)).with_limit(SLOW)
}

/// The card. Its BAR 2 is memory that no driver uses before the test module is loaded.
pub(super) fn card() -> Card {
    Card { id: "card".to_owned(), model: format!("pci-testdev,membar={CARD_MIB}M"), slot: Slot::Switch(2) }
}

/// The kinds of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A guest without special features.
    Plain,
    /// With a fully preemptible kernel.
    Preemptible,
    /// With more crash sinks than a serial console.
    CrashSinks,
    /// With persistent memory, and a slot for a memory module.
    OtherMemory,
    /// With memory for the rings of a thousand CPUs.
    Large,
    /// With two CPUs and room for 64.
    Possible64,
    /// With two CPUs and room for as many as a machine can have without remapped interrupts.
    Possible255,
    /// With a clock that counts instructions: durations do not depend on the host's load.
    Counted,
    /// As `Counted`, with one processor: two concurrent tasks take as long as two consecutive ones.
    CountedAlone,
    /// With room for a second kernel that saves the memory of the first after a crash.
    Kdump,
    /// With a disk that survives the guest.
    Disk,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Plain,
        Self::Preemptible,
        Self::OtherMemory,
        Self::Large,
        Self::Possible64,
        Self::Possible255,
        Self::CrashSinks,
        Self::Counted,
        Self::CountedAlone,
        Self::Kdump,
        Self::Disk,
    ];

    /// The name in logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Preemptible => "preemptible",
            Self::OtherMemory => "other-memory",
            Self::Large => "large",
            Self::Possible64 => "cpus-64",
            Self::Possible255 => "cpus-255",
            Self::CrashSinks => "crash-sinks",
            Self::Counted => "counted",
            Self::CountedAlone => "counted-alone",
            Self::Kdump => "kdump",
            Self::Disk => "disk",
        }
    }

    pub(crate) fn machine(self) -> Machine {
        match self {
            Self::Plain => machine(&[]),
            Self::Preemptible => machine(&["preempt=full"]),
            Self::OtherMemory => Machine { possible_mib: Some(ROOM_MIB), ..machine(&[PERSISTENT, MOVABLE]) },
            Self::Large => Machine { memory_mib: LARGE_MIB, ..machine(&[]) },
            Self::Possible64 => possible(64),
            Self::Possible255 => possible(255),
            Self::CrashSinks => Machine { has_crash_sinks: true, ..machine(&[RESERVED]) },
            Self::Counted => Machine {
                clock: Clock::Instructions { shift: 0 },
                ..machine(&["clocksource=tsc", "tsc=reliable"])
            },
            Self::CountedAlone => Machine { cpus: 1, ..Self::Counted.machine() },
            Self::Disk => Machine { disk_mib: Some(DISK_MIB), ..machine(&[]) },
            Self::Kdump => Machine {
                memory_mib: 512 + CRASH_KERNEL_MIB,
                sees_host: true,
                writes_out: true,
                has_crash_sinks: true,
                ..machine(&[&format!("crashkernel={CRASH_KERNEL_MIB}M"), RESERVED])
            },
        }
    }
}

/// A machine with room for more CPUs, each of which needs memory.
fn possible(cpus: u16) -> Machine {
    Machine { possible_cpus: Some(cpus), memory_mib: LARGE_MIB, ..machine(&[]) }
}

/// The machine with additional kernel arguments.
pub(crate) fn machine(kernel_args: &[&str]) -> Machine {
    Machine {
        drives: vec![memory_drive(), slow_drive()],
        cards: vec![card()],
        // With this device, a memory dump identifies its kernel.
        devices: vec!["vmcoreinfo".to_owned()],
        kernel_args: kernel_args.iter().map(|&word| word.to_owned()).collect(),
        ..Machine::default()
    }
}
