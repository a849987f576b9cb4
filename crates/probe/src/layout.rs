//! The kernel side's configuration from BTF: member offsets, enum values, argument positions.

#![forbid(unsafe_code)]

use p2p_trace_common::{
    config::{Layout, MISSING, NO_ARG},
    hook::MAX_ARGS,
};

use crate::hook_table::Row;
use crate::kernel::btf::Btf;

/// Looks up all offsets that the kernel side uses. A member that this kernel does not have is [`MISSING`].
#[must_use]
pub fn layout(btf: &Btf) -> Layout {
    let at = |name: &str, path: &str| btf.member_offset(name, path).unwrap_or(MISSING);
    let size = |name: &str| btf.struct_size(name).unwrap_or(MISSING);
    let flag = |condition: bool| u32::from(condition);
    let type_p2pdma = btf.enum_value("memory_type", "MEMORY_DEVICE_PCI_P2PDMA");
    Layout {
        task_pid: at("task_struct", "pid"),
        task_tgid: at("task_struct", "tgid"),
        task_comm: at("task_struct", "comm"),
        task_cgroups: at("task_struct", "cgroups"),
        task_last_arrival: at("task_struct", "sched_info.last_arrival"),
        css_set_dfl_cgrp: at("css_set", "dfl_cgrp"),
        cgroup_kn: at("cgroup", "kn"),
        kernfs_node_id: at("kernfs_node", "id"),
        pci_dev_bus: at("pci_dev", "bus"),
        pci_dev_devfn: at("pci_dev", "devfn"),
        pci_dev_dev: at("pci_dev", "dev"),
        pci_dev_p2pdma: at("pci_dev", "p2pdma"),
        pci_bus_number: at("pci_bus", "number"),
        pci_bus_sysdata: at("pci_bus", "sysdata"),
        pci_sysdata_domain: at("pci_sysdata", "domain"),
        device_kobj: at("device", "kobj"),
        device_bus: at("device", "bus"),
        // Absent under PREEMPT_RT, whose mutexes have another layout.
        device_mutex_owner: at("device", "mutex.owner"),
        bus_type_name: at("bus_type", "name"),
        pgmap_ref: at("dev_pagemap", "ref"),
        pgmap_internal_ref: at("dev_pagemap", "internal_ref"),
        pgmap_type: at("dev_pagemap", "type"),
        pgmap_range: at("dev_pagemap", "range"),
        pgmap_nr_range: at("dev_pagemap", "nr_range"),
        pgmap_ops: at("dev_pagemap", "ops"),
        p2p_pgmap_pgmap: at("pci_p2pdma_pagemap", "pgmap"),
        p2p_pgmap_provider: at("pci_p2pdma_pagemap", "provider"),
        p2p_pgmap_mem: at("pci_p2pdma_pagemap", "mem"),
        provider_owner: at("p2pdma_provider", "owner"),
        p2pdma_pool: at("pci_p2pdma", "pool"),
        p2pdma_published: at("pci_p2pdma", "p2pmem_published"),
        pool_chunks: at("gen_pool", "chunks"),
        chunk_next: at("gen_pool_chunk", "next_chunk"),
        chunk_avail: at("gen_pool_chunk", "avail"),
        chunk_owner: at("gen_pool_chunk", "owner"),
        chunk_start: at("gen_pool_chunk", "start_addr"),
        chunk_end: at("gen_pool_chunk", "end_addr"),
        chunk_bits: at("gen_pool_chunk", "bits"),
        percpu_count_ptr: at("percpu_ref", "percpu_count_ptr"),
        percpu_ref_data: at("percpu_ref", "data"),
        percpu_data_count: at("percpu_ref_data", "count"),
        page_pgmap: btf
            .member_offset("folio", "pgmap")
            .or_else(|| btf.member_offset("page", "pgmap"))
            .unwrap_or(MISSING),
        page_size: size("page"),
        vma_start: at("vm_area_struct", "vm_start"),
        vma_end: at("vm_area_struct", "vm_end"),
        sg_page_link: at("scatterlist", "page_link"),
        sg_size: size("scatterlist"),
        request_bio: at("request", "bio"),
        bio_io_vec: at("bio", "bi_io_vec"),
        bio_iter_idx: at("bio", "bi_iter.bi_idx"),
        bio_vcnt: at("bio", "bi_vcnt"),
        bio_vec_page: at("bio_vec", "bv_page"),
        bio_vec_size: size("bio_vec"),
        type_p2pdma: type_p2pdma.map_or(MISSING, |value| value as u32),
        pgmap_ref_is_pointer: flag(btf.member_type_is_pointer("dev_pagemap", "ref") == Some(true)),
        mem_is_pointer: flag(btf.member_type_is_pointer("pci_p2pdma_pagemap", "mem") == Some(true)),
        unmap_data_is_pgmap: flag(btf.has_struct("p2pdma_provider")),
    }
}

/// The positions of the arguments that a hook reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Positions by logical argument.
    pub positions: [u8; MAX_ARGS],
    /// Number of parameters of the function.
    pub count: u8,
}

/// Looks up a function's parameters by name.
///
/// # Errors
///
/// A sentence that names what is missing in this kernel's BTF.
pub fn arguments(btf: &Btf, row: &Row, function: &str) -> Result<Arguments, String> {
    let Some(prototype) = btf.func(function) else {
        return Err(format!("BTF has no prototype of {function}"));
    };
    let mut positions = [NO_ARG; MAX_ARGS];
    for (index, position) in positions.iter_mut().enumerate() {
        let mut names = row.arg_names(index).peekable();
        if names.peek().is_none() {
            continue;
        }
        let found = names.find_map(|name| prototype.param_index(name));
        let Some(found) = found.and_then(|found| u8::try_from(found).ok()) else {
            return Err(format!("{function} has no parameter {} in BTF", row.args[index]));
        };
        *position = found;
    }
    let count = u8::try_from(prototype.param_count()).unwrap_or(NO_ARG);
    Ok(Arguments { positions, count })
}
