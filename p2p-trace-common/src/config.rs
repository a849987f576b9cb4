//! Facts about the running kernel and the user's settings. User space writes them into the programs
//! as read-only data before verification, so that the verifier removes the branches that depend on
//! them.

use crate::{
    hook::{HOOK_SLOTS, MAX_ARGS},
    record::SCHEMA,
    slot::Sharing,
};

/// Used as an offset or argument position: this kernel has none.
pub const MISSING: u32 = u32::MAX;
/// Used as [`Config::own_ops`]: not known.
pub const UNKNOWN_OPS: u64 = u64::MAX;
/// Used in [`Config::args`], with the meaning of [`MISSING`].
pub const NO_ARG: u8 = u8::MAX;
/// Capacity of the in-kernel device filter.
pub const MAX_DEVICES: usize = 16;
/// Placeholders in instructions on hot paths. User space replaces them before it loads the object,
/// because reading the configuration at every event would cost more than the work that depends on
/// it.
pub mod marker {
    use super::{Config, Layout};
    use crate::hook::{Hook, MAX_ARGS};

    /// Stands for the number of `bpf_rdonly_cast` in a call; no helper has this number. User space
    /// replaces the call by a plain move if the running kernel has no such function.
    pub const CAST: i32 = 0x5032_5043;
    /// Base of the numbers added to a pointer: this plus [`member`] stands for the offset of that
    /// member.
    pub const MEMBER: i32 = 0x5032_4d00;
    /// Base of the distances from the context of an fentry or fexit program to the words that
    /// identify the caller: this plus the number of the hook.
    pub const FRAME: i32 = 0x5032_4600;
    /// Base of the offsets of loads from the context of an fentry or fexit program: this plus
    /// [`argument`].
    pub const ARGUMENT: i16 = 0x7000;
    /// Base of the offsets of loads from the registers passed to a kprobe: this plus [`argument`].
    pub const REGISTER: i16 = 0x7400;
    /// Used as the index of an argument: the function's result.
    pub const RESULT: usize = MAX_ARGS;

    /// Arguments of a hook and its result, rounded up to a power of two.
    const PER_HOOK: usize = 8;

    /// Number of a logical argument of a hook.
    #[must_use]
    pub const fn argument(hook: u8, index: usize) -> i16 {
        (hook as usize * PER_HOOK + index) as i16
    }

    /// Inverse of [`argument`].
    #[must_use]
    pub const fn of_argument(number: i16) -> (Option<Hook>, usize) {
        let number = number as usize;
        (Hook::from_u8((number / PER_HOOK) as u8), number % PER_HOOK)
    }

    /// Number of the layout member at `offset`, which comes from `core::mem::offset_of!`.
    #[must_use]
    pub const fn member(offset: usize) -> i32 {
        (offset / size_of::<u32>()) as i32
    }

    /// Number of members in the layout.
    pub const MEMBERS: i32 = member(size_of::<Layout>());

    /// Base of the placeholders for a 32-bit field of the configuration: this plus the field's
    /// position. The instruction sets a register to the field's value, masks it, or multiplies it.
    pub const SETTING: i32 = 0x5032_5000;
    /// As [`SETTING`] for a 64-bit field, in a double-length instruction.
    pub const WIDE_SETTING: i32 = 0x5032_5700;

    /// Placeholder for the field at `offset`, which comes from `core::mem::offset_of!`.
    #[must_use]
    pub const fn setting(offset: usize) -> i32 {
        assert!(offset.is_multiple_of(size_of::<u32>()) && offset < size_of::<Config>());
        SETTING + (offset / size_of::<u32>()) as i32
    }

    /// Placeholder for the 64-bit field at `offset`.
    #[must_use]
    pub const fn wide_setting(offset: usize) -> i32 {
        assert!(offset.is_multiple_of(size_of::<u64>()) && offset < size_of::<Config>());
        WIDE_SETTING + (offset / size_of::<u64>()) as i32
    }

    /// Inverse of [`setting`] and [`wide_setting`]; `None` if the number does not belong to the
    /// placeholders from `base`.
    #[must_use]
    pub const fn offset_of(number: i32, base: i32, width: usize) -> Option<usize> {
        if number < base {
            return None;
        }
        let offset = (number - base) as usize * width;
        if offset + width <= size_of::<Config>() { Some(offset) } else { None }
    }
}
/// Upper bound of the loops over CPUs in the kernel side, and therefore of the supported CPUs.
pub const MAX_CPUS: u32 = 1024;

/// Byte offsets, from BTF, of the members that the kernel side reads; [`MISSING`] if the kernel does
/// not have the member. A name spells the path: `pci_dev_bus` is member `bus` of
/// `struct pci_dev`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the member it holds the offset of")]
pub struct Layout {
    pub task_pid: u32,
    pub task_tgid: u32,
    pub task_comm: u32,
    pub task_cgroups: u32,
    pub task_last_arrival: u32,
    pub css_set_dfl_cgrp: u32,
    pub cgroup_kn: u32,
    pub kernfs_node_id: u32,
    pub pci_dev_bus: u32,
    pub pci_dev_devfn: u32,
    pub pci_dev_dev: u32,
    pub pci_dev_p2pdma: u32,
    pub pci_bus_number: u32,
    pub pci_bus_sysdata: u32,
    pub pci_sysdata_domain: u32,
    pub device_kobj: u32,
    pub device_bus: u32,
    pub device_mutex_owner: u32,
    pub bus_type_name: u32,
    pub pgmap_ref: u32,
    pub pgmap_internal_ref: u32,
    pub pgmap_type: u32,
    pub pgmap_range: u32,
    pub pgmap_nr_range: u32,
    pub pgmap_ops: u32,
    pub p2p_pgmap_pgmap: u32,
    pub p2p_pgmap_provider: u32,
    pub p2p_pgmap_mem: u32,
    pub provider_owner: u32,
    pub p2pdma_pool: u32,
    pub p2pdma_published: u32,
    pub pool_chunks: u32,
    pub chunk_next: u32,
    pub chunk_avail: u32,
    pub chunk_owner: u32,
    pub chunk_start: u32,
    pub chunk_end: u32,
    pub chunk_bits: u32,
    pub percpu_count_ptr: u32,
    pub percpu_ref_data: u32,
    pub percpu_data_count: u32,
    pub page_pgmap: u32,
    pub page_size: u32,
    pub vma_start: u32,
    pub vma_end: u32,
    pub sg_page_link: u32,
    pub sg_size: u32,
    pub request_bio: u32,
    pub bio_io_vec: u32,
    pub bio_iter_idx: u32,
    pub bio_vcnt: u32,
    pub bio_vec_page: u32,
    pub bio_vec_size: u32,
    /// Value of `MEMORY_DEVICE_PCI_P2PDMA`, not an offset.
    pub type_p2pdma: u32,
    /// 1: `dev_pagemap.ref` is a pointer (5.10), not the reference itself.
    pub pgmap_ref_is_pointer: u32,
    /// 1: `pci_p2pdma_pagemap.mem` is a pointer to the provider, not the provider itself.
    pub mem_is_pointer: u32,
    /// 1: the argument of `pci_p2pdma_unmap_mappings` is the `pci_p2pdma_pagemap`, not the `pci_dev`.
    pub unmap_data_is_pgmap: u32,
}

impl Layout {
    /// A layout without any known member.
    pub const UNKNOWN: Self = Self {
        task_pid: MISSING,
        task_tgid: MISSING,
        task_comm: MISSING,
        task_cgroups: MISSING,
        task_last_arrival: MISSING,
        css_set_dfl_cgrp: MISSING,
        cgroup_kn: MISSING,
        kernfs_node_id: MISSING,
        pci_dev_bus: MISSING,
        pci_dev_devfn: MISSING,
        pci_dev_dev: MISSING,
        pci_dev_p2pdma: MISSING,
        pci_bus_number: MISSING,
        pci_bus_sysdata: MISSING,
        pci_sysdata_domain: MISSING,
        device_kobj: MISSING,
        device_bus: MISSING,
        device_mutex_owner: MISSING,
        bus_type_name: MISSING,
        pgmap_ref: MISSING,
        pgmap_internal_ref: MISSING,
        pgmap_type: MISSING,
        pgmap_range: MISSING,
        pgmap_nr_range: MISSING,
        pgmap_ops: MISSING,
        p2p_pgmap_pgmap: MISSING,
        p2p_pgmap_provider: MISSING,
        p2p_pgmap_mem: MISSING,
        provider_owner: MISSING,
        p2pdma_pool: MISSING,
        p2pdma_published: MISSING,
        pool_chunks: MISSING,
        chunk_next: MISSING,
        chunk_avail: MISSING,
        chunk_owner: MISSING,
        chunk_start: MISSING,
        chunk_end: MISSING,
        chunk_bits: MISSING,
        percpu_count_ptr: MISSING,
        percpu_ref_data: MISSING,
        percpu_data_count: MISSING,
        page_pgmap: MISSING,
        page_size: MISSING,
        vma_start: MISSING,
        vma_end: MISSING,
        sg_page_link: MISSING,
        sg_size: MISSING,
        request_bio: MISSING,
        bio_io_vec: MISSING,
        bio_iter_idx: MISSING,
        bio_vcnt: MISSING,
        bio_vec_page: MISSING,
        bio_vec_size: MISSING,
        type_p2pdma: MISSING,
        pgmap_ref_is_pointer: 0,
        mem_is_pointer: 0,
        unmap_data_is_pgmap: 0,
    };
}

/// Read-only data of the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`SCHEMA`]; user space refuses an object with another schema.
    pub schema: u32,
    /// Highest possible CPU number plus one.
    pub cpus: u32,
    /// Random number of the run.
    pub run: u64,
    /// Slots of a hot and of a rare ring; powers of two.
    pub slots: [u32; 2],
    /// Number of devices in `devices`; 0 traces all devices.
    pub device_count: u32,
    /// 1: capture the stack of rare records.
    pub stacks_rare: u32,
    /// 1: capture the stack of hot records about allocations
    /// ([`Hook::takes_memory`](crate::Hook::takes_memory)).
    pub stacks_taking: u32,
    /// 1: capture the stack of all other hot records.
    pub stacks_other: u32,
    /// Maximum size of the stack of a hot record in bytes: eight per frame, and at most
    /// [`MAX_FRAMES`](crate::record::MAX_FRAMES) frames.
    pub stack_bytes: u32,
    /// 1: record the caller's address.
    pub callers: u32,
    /// 1: accumulate page frees into bursts.
    pub bursts: u32,
    /// 1: read the current task through its BTF type (5.11 and later) instead of by helpers.
    pub task_btf: u32,
    /// BTF id of a sufficiently long struct that consists of 64-bit words only, if memory can be
    /// read through it (`bpf_rdonly_cast`, 6.2); 0: read by helper only.
    pub cast_type: u32,
    /// 1: this kernel has all the members on the way to a device's address.
    pub device_known: u32,
    /// 1: also write a use of removed memory to the kernel's trace.
    pub printk: u32,
    /// [`Sharing::mask`]: a CPU's number masked with this is the number of its rings.
    pub ring_mask: u32,
    /// `slots`, each minus one.
    pub slot_masks: [u32; 2],
    /// Level of the kernel side's log statements, as in aya-log; 0 disables them.
    pub log_level: u32,
    /// Padding that keeps the next field aligned.
    pub reserved: u32,
    /// Devices to trace, as in a record: domain in the low half, then bus and devfn.
    pub devices: [u64; MAX_DEVICES],
    /// Address of each hook's function; 0 if not known. Distinguishes the caller from the
    /// trampoline.
    pub functions: [u64; HOOK_SLOTS],
    /// Address of `__per_cpu_offset`; 0 if not known.
    pub per_cpu_offset: u64,
    /// Address of the variable `vmemmap_base`; 0 if not known.
    pub vmemmap_base: u64,
    /// Address of `p2pdma_pgmap_ops`, the operations of p2p memory that the pool allocates; 0: p2p
    /// memory has no operations (before 6.2); [`UNKNOWN_OPS`].
    pub own_ops: u64,
    /// Position of each logical argument in the parameters of each hook's function; [`NO_ARG`]: it
    /// has no such argument.
    pub args: [[u8; MAX_ARGS]; HOOK_SLOTS],
    /// Number of parameters of each hook's function, behind which fexit finds the result.
    pub arg_counts: [u8; HOOK_SLOTS],
    /// Member offsets.
    pub layout: Layout,
    /// Padding of the last word.
    pub reserved_end: u32,
}

impl Config {
    /// A configuration without any known fact, which traces every device.
    pub const EMPTY: Self = Self {
        schema: SCHEMA as u32,
        cpus: 1,
        run: 0,
        slots: [1, 1],
        device_count: 0,
        stacks_rare: 0,
        stacks_taking: 0,
        stacks_other: 0,
        stack_bytes: 0,
        callers: 0,
        bursts: 0,
        task_btf: 0,
        cast_type: 0,
        device_known: 0,
        printk: 0,
        ring_mask: Sharing::NONE.mask(),
        slot_masks: [0, 0],
        log_level: 0,
        reserved: 0,
        devices: [0; MAX_DEVICES],
        functions: [0; HOOK_SLOTS],
        per_cpu_offset: 0,
        vmemmap_base: 0,
        own_ops: UNKNOWN_OPS,
        args: [[NO_ARG; MAX_ARGS]; HOOK_SLOTS],
        arg_counts: [0; HOOK_SLOTS],
        layout: Layout::UNKNOWN,
        reserved_end: 0,
    };
}

const _: () = {
    // No padding: the bytes are passed to the kernel as they are.
    assert!(size_of::<Layout>() == 57 * 4);
    assert!(size_of::<Config>() == 88 + 8 * MAX_DEVICES + (8 + MAX_ARGS + 1) * HOOK_SLOTS + 24 + 58 * 4);
};
