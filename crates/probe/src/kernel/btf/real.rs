//! Checks the parser against the BTF of real kernels, which is too large for the repository.
//!
//! `P2P_TRACE_BTF_DIR` names a folder with the files `btf-5.10`, `btf-6.1`, `btf-6.12` and `btf-7.3`: the `.BTF` sections of
//! kernels with `CONFIG_PCI_P2PDMA=y`. The expected values come from the kernels' sources, not from this parser.

use std::{path::PathBuf, time::Instant};

use super::{Btf, Shape};

/// One kernel and its expected values.
struct Known {
    version: &'static str,
    memory_type_p2pdma: i64,
    ref_is_pointer: bool,
    /// Offset of `pgmap` in `pci_p2pdma_pagemap`.
    pgmap: u32,
    /// `page`, and not `folio`, has the `pgmap` pointer, at offset 8.
    page_has_pgmap: bool,
    provider: bool,
    remove_memory: &'static [&'static str],
    present: &'static [&'static str],
    absent: &'static [&'static str],
}

const EVERYWHERE: &[&str] = &[
    "pci_alloc_p2pmem",
    "pci_free_p2pmem",
    "pci_p2pmem_alloc_sgl",
    "pci_p2pmem_free_sgl",
    "pci_p2pmem_virt_to_bus",
    "pci_p2pmem_publish",
    "pci_p2pdma_add_resource",
    "pci_p2pdma_release",
    "devm_memremap_pages",
    "devm_memremap_pages_release",
    "memunmap_pages",
    "dev_pagemap_percpu_release",
    "arch_remove_memory",
    "devres_release_all",
    "device_release_driver_internal",
    "pci_device_remove",
    "vm_insert_page",
    "dev_attr_show",
];

const KERNELS: &[Known] = &[
    Known {
        version: "5.10",
        memory_type_p2pdma: 4,
        ref_is_pointer: true,
        pgmap: 0,
        page_has_pgmap: true,
        provider: false,
        remove_memory: &["nid", "start", "size", "altmap"],
        present: &["pci_p2pdma_map_sg_attrs", "pci_p2pdma_unmap_sg_attrs", "free_devmap_managed_page"],
        absent: &["p2pmem_alloc_mmap", "pci_p2pdma_map_segment", "device_unbind_cleanup"],
    },
    Known {
        version: "6.1",
        memory_type_p2pdma: 5,
        ref_is_pointer: false,
        pgmap: 0,
        page_has_pgmap: true,
        provider: false,
        remove_memory: &["start", "size", "altmap"],
        present: &["pci_p2pdma_map_segment", "calc_map_type_and_dist", "device_unbind_cleanup"],
        absent: &["p2pmem_alloc_mmap", "pci_p2pdma_map_sg_attrs", "pcim_p2pdma_init"],
    },
    Known {
        version: "6.12",
        memory_type_p2pdma: 5,
        ref_is_pointer: false,
        pgmap: 16,
        page_has_pgmap: true,
        provider: false,
        remove_memory: &["start", "size", "altmap", "pgmap"],
        present: &[
            "p2pmem_alloc_mmap",
            "p2pdma_page_free",
            "pci_p2pdma_unmap_mappings",
            "__dma_map_sg_attrs",
        ],
        absent: &["p2pdma_folio_free", "__pci_p2pdma_update_state", "pci_p2pdma_map_type"],
    },
    Known {
        version: "7.3",
        memory_type_p2pdma: 5,
        ref_is_pointer: false,
        pgmap: 0,
        page_has_pgmap: false,
        provider: true,
        remove_memory: &["start", "size", "altmap", "pgmap"],
        present: &["p2pmem_alloc_mmap", "p2pdma_folio_free", "pci_p2pdma_map_type", "pcim_p2pdma_provider"],
        absent: &["p2pdma_page_free", "pci_p2pdma_map_segment", "pci_p2pdma_map_sg_attrs"],
    },
];

/// Members that each of these kernels has.
const MEMBERS: &[(&str, &str, Shape)] = &[
    ("pci_dev", "bus", Shape::Pointer),
    ("pci_dev", "devfn", Shape::Integer),
    ("pci_dev", "dev", Shape::Struct),
    ("pci_dev", "p2pdma", Shape::Pointer),
    ("pci_dev", "dev.kobj.name", Shape::Pointer),
    ("pci_bus", "number", Shape::Integer),
    ("pci_bus", "sysdata", Shape::Pointer),
    ("pci_sysdata", "domain", Shape::Integer),
    ("device", "init_name", Shape::Pointer),
    ("dev_pagemap", "type", Shape::Enum),
    ("dev_pagemap", "flags", Shape::Integer),
    ("dev_pagemap", "nr_range", Shape::Integer),
    ("dev_pagemap", "range.start", Shape::Integer),
    ("dev_pagemap", "ranges.end", Shape::Integer),
    ("dev_pagemap", "ops", Shape::Pointer),
    ("dev_pagemap", "owner", Shape::Pointer),
    ("dev_pagemap", "done", Shape::Struct),
    ("percpu_ref", "percpu_count_ptr", Shape::Integer),
    ("percpu_ref", "data", Shape::Pointer),
    ("percpu_ref_data", "count.counter", Shape::Integer),
    ("percpu_ref_data", "release", Shape::Pointer),
    ("gen_pool", "chunks.next", Shape::Pointer),
    ("gen_pool_chunk", "next_chunk", Shape::Struct),
    ("gen_pool_chunk", "avail.counter", Shape::Integer),
    ("gen_pool_chunk", "owner", Shape::Pointer),
    ("gen_pool_chunk", "start_addr", Shape::Integer),
    ("gen_pool_chunk", "end_addr", Shape::Integer),
    ("gen_pool_chunk", "phys_addr", Shape::Integer),
    ("gen_pool_chunk", "bits", Shape::Array),
    ("pci_p2pdma", "pool", Shape::Pointer),
    ("scatterlist", "page_link", Shape::Integer),
    ("scatterlist", "length", Shape::Integer),
    ("vm_area_struct", "vm_start", Shape::Integer),
    ("vm_area_struct", "vm_end", Shape::Integer),
    ("task_struct", "tgid", Shape::Integer),
    ("page", "zone_device_data", Shape::Pointer),
];

fn check(known: &Known, btf: &Btf) {
    let version = known.version;
    for &(name, path, shape) in MEMBERS {
        let member = btf.member(name, path).unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(member.shape, shape, "{version}: {name}.{path}");
        assert!(member.offset().is_some(), "{version}: {name}.{path}");
    }
    assert_eq!(btf.enum_value("memory_type", "MEMORY_DEVICE_PCI_P2PDMA"), Some(known.memory_type_p2pdma));
    assert_eq!(btf.enumerator("MEMORY_DEVICE_PCI_P2PDMA"), Some(known.memory_type_p2pdma));
    assert_eq!(btf.member_type_is_pointer("dev_pagemap", "ref"), Some(known.ref_is_pointer));
    assert_eq!(btf.member_offset("dev_pagemap", "internal_ref").is_some(), known.ref_is_pointer);
    assert_eq!(btf.member_offset("pci_p2pdma_pagemap", "pgmap"), Some(known.pgmap), "{version}");
    assert_eq!(btf.member_offset("page", "pgmap"), known.page_has_pgmap.then_some(8), "{version}");
    let folio = (!known.page_has_pgmap).then_some(8);
    assert_eq!(btf.member_offset("folio", "pgmap"), folio, "{version}");
    assert_eq!(btf.member_offset("page", "zone_device_data"), Some(16), "{version}");
    assert_eq!(btf.has_struct("p2pdma_provider"), known.provider, "{version}");
    assert!(matches!(btf.member_offset("pci_dev", "dev"), Some(200 | 208)), "{version}");
    assert_eq!(btf.member_offset("pci_bus", "domain_nr"), None, "{version}");
    assert_eq!(btf.struct_size("page"), Some(64), "{version}");
    let force_atomic = btf.member("percpu_ref_data", "force_atomic").unwrap();
    assert_eq!(force_atomic.bit_field, Some(1), "{version}");

    let counted = |name, path| btf.member(name, path).is_ok();
    assert_eq!(counted("bpf_prog_info", "recursion_misses"), version != "5.10", "{version}");
    let kprobes = counted("bpf_link_info", "perf_event.kprobe.missed");
    assert_eq!(kprobes, matches!(version, "6.12" | "7.3"), "{version}");

    let remove = btf.func("arch_remove_memory").unwrap();
    let names: Vec<_> = remove.params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(names, known.remove_memory, "{version}");
    assert!(remove.returns.is_none());
    let alloc = btf.func("pci_alloc_p2pmem").unwrap();
    assert_eq!((alloc.param_count(), alloc.returns), (2, Some(Shape::Pointer)));
    assert_eq!(alloc.params[0].points_to.as_deref(), Some("pci_dev"));
    for name in EVERYWHERE.iter().chain(known.present) {
        assert!(btf.func(name).is_some(), "{version}: {name}");
    }
    for name in known.absent {
        assert!(btf.func(name).is_none(), "{version}: {name}");
    }
}

#[test]
#[ignore = "needs P2P_TRACE_BTF_DIR"]
fn agrees_with_real_kernels() {
    let dir = PathBuf::from(std::env::var_os("P2P_TRACE_BTF_DIR").expect("P2P_TRACE_BTF_DIR names a folder"));
    for known in KERNELS {
        let path = dir.join(format!("btf-{}", known.version));
        let data = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let btf = Btf::parse(data).unwrap();
        let parsed = start.elapsed();
        check(known, &btf);
        println!(
            "{}: {} types, parsed in {parsed:?}, with lookups {:?}",
            known.version,
            btf.type_count(),
            start.elapsed()
        );
    }
}
