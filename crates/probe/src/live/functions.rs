//! The functions that programs are attached to, in the form that aya expects.

use aya_obj::btf::{BtfType, Func, FuncLinkage, Ptr};

use crate::kernel::btf::Btf;

/// Types in which only these functions have names, each under its id in the kernel's own types; aya needs nothing else. Otherwise
/// aya would parse the kernel's types again, and search the names of all functions for each program.
pub(super) fn functions(btf: &Btf, names: impl Iterator<Item = &'static str>) -> aya::Btf {
    let mut found: Vec<_> = names.filter_map(|name| Some((btf.func_id(name)?, name))).collect();
    found.sort_unstable();
    found.dedup();
    let mut types = aya::Btf::new();
    let mut next = 1;
    for (id, name) in found {
        while next < id {
            next = types.add_type(BtfType::Ptr(Ptr::new(0, 0))) + 1;
        }
        let name = types.add_string(name);
        next = types.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static))) + 1;
    }
    types
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;

    use super::*;
    use crate::testing::btf::Builder;

    #[test]
    fn functions_keep_their_kernel_ids() {
        let mut kernel = Builder::new();
        let int = kernel.int("int", 4);
        let first = kernel.function("pci_alloc_p2pmem", int, &[("size", int)]);
        kernel.structure("pci_free_p2pmem", 4, &[("what", int, 0)]);
        let second = kernel.function("pci_free_p2pmem", 0, &[]);
        // Of two functions with the same name, the first one counts, as in the kernel's own types.
        kernel.function("pci_alloc_p2pmem", 0, &[]);
        let kernel = Btf::parse(kernel.build()).unwrap();
        let types = functions(&kernel, ["pci_free_p2pmem", "pci_alloc_p2pmem", "absent"].into_iter());
        let id = |name| types.id_by_type_name_kind(name, BtfKind::Func).ok();
        assert_eq!(
            ["pci_alloc_p2pmem", "pci_free_p2pmem", "absent"].map(id),
            [Some(first), Some(second), None]
        );
    }
}
