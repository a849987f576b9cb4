//! The record: 120 bytes that, with the slot's header, fill one slot.

use crate::{kind::Kind, state, valid};

/// The first word of every record, `"P2PT"` in memory.
pub const MAGIC: u32 = u32::from_le_bytes(*b"P2PT");

/// Version of the record's layout. A change of the meaning or place of any byte raises it.
pub const SCHEMA: u8 = 0;

/// Length of a task's name in bytes, `TASK_COMM_LEN` in the kernel.
pub const COMM_LEN: usize = 16;

/// In [`Record::flags`]: written by a kprobe or kretprobe instead of fentry or fexit.
pub const FLAG_KPROBE: u8 = 1 << 0;
/// In [`Record::flags`]: stack records of this record follow in the same ring.
pub const FLAG_STACK: u8 = 1 << 1;
/// In [`Record::flags`]: written by a hook that is attached only while a teardown is pending.
pub const FLAG_ARMED: u8 = 1 << 2;

/// A record as the kernel side writes it. The meaning of `words`, `number` and `small` depends on
/// the kind (see `docs/events.md`); `valid` flags the fields that hold a value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`SCHEMA`].
    pub schema: u8,
    /// A [`Kind`].
    pub kind: u8,
    /// The [`crate::Hook`] that wrote it.
    pub hook: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// Bits of [`crate::valid`].
    pub valid: u32,
    /// CPU that wrote it.
    pub cpu: u32,
    /// Random number of the tracing run.
    pub run: u64,
    /// [`crate::Ring::sequence`]: unique within run and CPU.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// Thread id in the initial pid namespace.
    pub pid: u32,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Name of the thread, padded with zero bytes.
    pub comm: [u8; COMM_LEN],
    /// PCI domain, 32 bits (VMD and Hyper-V use more than 16).
    pub domain: u32,
    /// PCI bus.
    pub bus: u8,
    /// PCI device and function, as `PCI_DEVFN` packs them.
    pub devfn: u8,
    /// Meaning depends on the kind.
    pub small: u16,
    /// Kernel address of the `struct dev_pagemap`.
    pub pgmap: u64,
    /// Meaning depends on the kind.
    pub words: [u64; 4],
    /// Meaning depends on the kind.
    pub number: u32,
    /// [`crate::slot::guard`] of the position.
    pub guard: u32,
}

/// Frames in one stack record.
pub const STACK_FRAMES: usize = 8;
/// Maximum number of stack records of one record.
pub const STACK_RECORDS: usize = 4;
/// Frames of the largest stack that is recorded.
pub const MAX_FRAMES: usize = STACK_FRAMES * STACK_RECORDS;

/// A continuation with stack frames: the head of a record up to `time_ns`, then a layout of its
/// own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRecord {
    /// As in [`Record`], up to `time_ns`.
    pub head: Head,
    /// Sequence number of the record that the stack belongs to; same run and CPU.
    pub parent: u64,
    /// Return addresses, innermost first; 0 after the last.
    pub frames: [u64; STACK_FRAMES],
    /// Index of this part of the stack: frames from `part * STACK_FRAMES` on.
    pub part: u32,
    /// As in [`Record`].
    pub guard: u32,
}

/// The common beginning of every record. Fields as in [`Record`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented in Record, whose head this is")]
pub struct Head {
    pub magic: u32,
    pub schema: u8,
    pub kind: u8,
    pub hook: u8,
    pub flags: u8,
    pub valid: u32,
    pub cpu: u32,
    pub run: u64,
    pub seq: u64,
    pub time_ns: u64,
}

impl Record {
    /// The record's kind, or `None` for a number from a later version.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.kind)
    }

    /// Number of ranges that a record of kind `kill` is about; 0 for a refused
    /// `pci_p2pdma_add_resource`.
    #[must_use]
    pub const fn killed_ranges(&self) -> Option<u32> {
        if !self.has(valid::COUNT) {
            None
        } else if self.has(valid::REFERENCE) {
            Some((self.small >> state::CHUNK_SHIFT) as u32)
        } else {
            Some(self.number)
        }
    }

    /// True if all of `bits` are flagged.
    #[must_use]
    pub const fn has(&self, bits: u32) -> bool {
        self.valid & bits == bits
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Record>() == 120);
    assert!(size_of::<StackRecord>() == 120);
    assert!(offset_of!(Record, kind) == 5);
    assert!(offset_of!(Record, valid) == 8);
    assert!(offset_of!(Record, cpu) == 12);
    assert!(offset_of!(Record, run) == 16);
    assert!(offset_of!(Record, seq) == 24);
    assert!(offset_of!(Record, time_ns) == 32);
    assert!(offset_of!(Record, pid) == 40);
    assert!(offset_of!(Record, comm) == 48);
    assert!(offset_of!(Record, domain) == 64);
    assert!(offset_of!(Record, bus) == 68);
    assert!(offset_of!(Record, small) == 70);
    assert!(offset_of!(Record, pgmap) == 72);
    assert!(offset_of!(Record, words) == 80);
    assert!(offset_of!(Record, number) == 112);
    assert!(offset_of!(Record, guard) == 116);
    assert!(size_of::<Head>() == offset_of!(Record, pid));
    assert!(offset_of!(StackRecord, frames) == 48);
    assert!(offset_of!(StackRecord, guard) == offset_of!(Record, guard));
};
