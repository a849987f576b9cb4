//! The configuration of the programs, from facts about the kernel and the user's request.

use p2p_trace_common::{
    Config,
    config::{MAX_DEVICES, MISSING, UNKNOWN_OPS},
};
use p2p_trace_model::event::DeviceAddress;

use super::diagnostics;
use crate::{
    kernel::{btf::Btf, symbols::Symbols},
    layout::layout,
    plan::Plan,
    rings::RingPlan,
    transport::{Request, Stacks, StacksOf},
};

/// BPF features of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// Atomic operations that return a value (5.12); the count of recursion misses came with them.
    pub(super) fetch_add: bool,
    /// `bpf_get_current_task_btf` (5.11).
    pub(super) task_btf: bool,
    /// `missed` in the info of a kprobe link (6.7).
    pub(super) kprobe_misses: bool,
    /// `bpf_rdonly_cast` (6.2).
    pub(super) cast: Option<Cast>,
}

/// Reads any memory by a plain load: BTF ids of the function that turns a number into a pointer, and of the type that the pointer
/// points to, a struct of 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) function_id: u32,
    pub(super) type_id: u32,
}

impl Cast {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self { function_id: btf.func_id("bpf_rdonly_cast")?, type_id: btf.struct_id("pt_regs")? })
    }
}

impl Features {
    /// Looks at the kernel's own types, since distributions backport features. Ids of types are valid only for the running kernel;
    /// `is_foreign` means that they come from a file that the user named.
    pub(super) fn of(btf: &Btf, is_foreign: bool) -> Self {
        Self {
            fetch_add: btf.member_offset("bpf_prog_info", "recursion_misses").is_some(),
            task_btf: btf.enumerator("BPF_FUNC_get_current_task_btf").is_some(),
            kprobe_misses: btf.member_offset("bpf_link_info", "perf_event.kprobe.missed").is_some(),
            cast: if is_foreign { None } else { Cast::of(btf) },
        }
    }
}

/// The configuration of one run.
pub(super) fn config(
    btf: &Btf,
    symbols: &Symbols,
    plan: &Plan,
    request: &Request,
    devices: &[DeviceAddress],
    rings: &RingPlan,
    run: u64,
) -> Config {
    let features = Features::of(btf, request.kernel_btf.is_some());
    let address = |name: &str| symbols.address_of(name).unwrap_or(0);
    let layout = layout(btf);
    let known = |members: &[u32]| !members.contains(&MISSING);
    let task_known = known(&[layout.task_pid, layout.task_tgid, layout.task_comm]);
    let device_known = known(&[
        layout.pci_dev_devfn,
        layout.pci_dev_bus,
        layout.pci_bus_number,
        layout.pci_bus_sysdata,
        layout.pci_sysdata_domain,
    ]);
    let mut config = Config {
        cpus: rings.cpus,
        run,
        slots: rings.slots,
        slot_masks: rings.slots.map(|slots| slots - 1),
        ring_mask: rings.sharing.mask(),
        device_count: devices.len().min(MAX_DEVICES) as u32,
        stacks_rare: 1,
        stacks_taking: u32::from(request.stacks.is_some()),
        stacks_other: u32::from(request.stacks.is_some_and(|stacks| stacks.of == StacksOf::All)),
        stack_bytes: request.stacks.map_or(0, Stacks::bytes),
        callers: u32::from(!symbols.addresses_hidden()),
        bursts: u32::from(features.fetch_add),
        task_btf: u32::from(features.task_btf && features.fetch_add && task_known),
        cast_type: features.cast.map_or(0, |cast| cast.type_id),
        device_known: u32::from(device_known),
        printk: u32::from(request.kmsg),
        log_level: diagnostics::number(request.diagnostics),
        per_cpu_offset: address("__per_cpu_offset"),
        vmemmap_base: address("vmemmap_base"),
        own_ops: own_ops(symbols),
        layout,
        ..Config::EMPTY
    };
    for (slot, device) in config.devices.iter_mut().zip(devices) {
        *slot = filter_word(*device);
    }
    for planned in &plan.planned {
        let hook = planned.row.hook as usize;
        config.args[hook] = planned.arguments.positions;
        config.arg_counts[hook] = planned.arguments.count;
        config.functions[hook] = planned.address.unwrap_or(0);
    }
    config
}

/// The operations that the `dev_pagemap` of p2p memory has unless the driver has replaced them. Before user space could map p2p
/// memory (6.2) there were none.
fn own_ops(symbols: &Symbols) -> u64 {
    let maps = symbols.has("p2pmem_alloc_mmap") || !symbols.variants("p2pmem_alloc_mmap").is_empty();
    match symbols.address_of_static("p2pdma_pgmap_ops") {
        Some(address) => address,
        None if symbols.has("pci_p2pdma_add_resource") && !maps => 0,
        None => UNKNOWN_OPS,
    }
}

/// A device in the format of the kernel side's filter.
fn filter_word(device: DeviceAddress) -> u64 {
    u64::from(device.domain) | u64::from(device.bus) << 32 | u64::from(device.devfn()) << 40
}
