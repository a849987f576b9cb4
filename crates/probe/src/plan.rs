//! Matches the hook table with the running kernel. Pure: symbols and BTF in, a plan out.

#![forbid(unsafe_code)]

use p2p_trace_common::Hook;
use p2p_trace_model::{event::Companions, text::Text};

use super::layout::{Arguments, arguments};
use crate::hook_table::{Need, Row, TABLE};
use crate::kernel::{btf::Btf, symbols::Symbols};

/// A hook that can be attached on this kernel.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The row in the hook table.
    pub row: &'static Row,
    /// The function; the kernel has exactly one with this name.
    pub function: &'static str,
    /// The positions of its arguments.
    pub arguments: Arguments,
    /// Whether the hook is attached only during teardowns.
    pub is_armed: bool,
    /// The address of the function; `None` if addresses are hidden.
    pub address: Option<u64>,
}

/// A hook that cannot be attached on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The hook.
    pub hook: Hook,
    /// The kernel does not have the function, so nothing is lost: the event cannot happen here.
    pub absent: bool,
    /// The reason.
    pub reason: Text,
}

/// The hook table, matched with one kernel.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Hooks that can be attached.
    pub planned: Vec<Planned>,
    /// Hooks that cannot be attached, and why.
    pub unavailable: Vec<Unavailable>,
}

impl Plan {
    /// Looks up all wanted hooks: those in `only`, or all if it is empty; then hooks on request are armed.
    #[must_use]
    pub fn new(symbols: &Symbols, btf: &Btf, only: &[Hook]) -> Self {
        let mut plan = Self::default();
        for row in TABLE.iter().filter(|row| is_wanted(row, only)) {
            let is_armed = is_armed(row, only);
            match find(row, is_armed, symbols, btf) {
                Ok(planned) => plan.planned.push(planned),
                Err(unavailable) => plan.unavailable.push(unavailable),
            }
        }
        plan
    }
}

fn is_wanted(row: &Row, only: &[Hook]) -> bool {
    if only.is_empty() {
        return row.need != Need::OnRequest;
    }
    only.contains(&row.hook) || Companions::is_needed(row.hook, only)
}

const fn is_armed(row: &Row, only: &[Hook]) -> bool {
    match row.need {
        Need::Armed => true,
        Need::ArmedOrNamed => only.is_empty(),
        Need::Required | Need::Optional | Need::OnRequest => false,
    }
}

fn find(row: &'static Row, is_armed: bool, symbols: &Symbols, btf: &Btf) -> Result<Planned, Unavailable> {
    let unavailable = |absent, reason| Unavailable { hook: row.hook, absent, reason };
    let Some(&function) = row.functions.iter().find(|name| symbols.has(name)) else {
        return Err(missing(row, symbols));
    };
    if symbols.functions(function).count() > 1 {
        let reason = format!("this kernel has several functions named {function}");
        return Err(unavailable(false, reason.into()));
    }
    if is_armed && row.compares_pages() && address_of("vmemmap_base", symbols).is_none() {
        let reason = "the address of vmemmap_base, and so the place of the kernel's struct pages, is unknown";
        return Err(unavailable(false, reason.into()));
    }
    let arguments = arguments(btf, row, function).map_err(|reason| unavailable(false, reason.into()))?;
    let address = address_of(function, symbols);
    Ok(Planned { row, function, arguments, is_armed, address })
}

/// The address of a symbol; `None` if addresses are hidden.
fn address_of(name: &str, symbols: &Symbols) -> Option<u64> {
    symbols.address_of(name).filter(|&address| address != 0)
}

/// The hook's function is missing. A variant that the compiler created (`.isra.0`, `.constprop.0`) may have its arguments elsewhere,
/// so it is not used; but then the function exists, and is not observed.
fn missing(row: &Row, symbols: &Symbols) -> Unavailable {
    let variants: Vec<&str> = row
        .functions
        .iter()
        .flat_map(|name| symbols.variants(name))
        .filter(|name| name.rsplit('.').next() != Some("cold"))
        .collect();
    let names = row.functions.join(", ");
    let reason = if variants.is_empty() {
        format!("this kernel has no {names}")
    } else {
        format!("this kernel has {names} only as {}", variants.join(", "))
    };
    Unavailable { hook: row.hook, absent: variants.is_empty(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::btf::Builder;

    /// A kernel whose function for removing memory takes the node number before the start, as in 5.10.
    fn btf() -> Btf {
        let mut builder = Builder::new();
        let int = builder.int("int", 4);
        builder.function("arch_remove_memory", 0, &[("nid", int), ("start", int), ("size", int)]);
        builder.function("memunmap_pages", 0, &[("pgmap", int)]);
        builder.function("pci_p2pmem_publish", 0, &[("pdev", int)]);
        Btf::parse(builder.build()).unwrap()
    }

    const SYMBOLS: &[u8] = b"ffffffff81000000 T arch_remove_memory\n\
        ffffffff81000100 T memunmap_pages\n\
        ffffffff81000200 T pci_p2pmem_publish\n\
        ffffffff81000300 t pci_free_p2pmem.isra.0\n\
        ffffffff81000400 t pci_p2pdma_release\n\
        ffffffff81000500 t pci_p2pdma_release\n\
        ffffffff81000600 t p2pmem_alloc_mmap.cold\n";

    fn plan(only: &[Hook]) -> Plan {
        Plan::new(&Symbols::parse(SYMBOLS), &btf(), only)
    }

    #[test]
    fn arguments_are_found_by_name() {
        let plan = plan(&[Hook::Remove]);
        let remove = plan.planned.iter().find(|planned| planned.row.hook == Hook::Remove).unwrap();
        assert_eq!(&remove.arguments.positions[..2], [1, 2]);
        assert_eq!(remove.arguments.count, 3);
        assert_eq!(remove.address, Some(0xffff_ffff_8100_0000));
    }

    #[test]
    fn a_hook_includes_the_hooks_it_needs() {
        let hooks: Vec<Hook> = plan(&[Hook::Remove]).planned.iter().map(|planned| planned.row.hook).collect();
        assert_eq!(hooks, [Hook::Unmapped, Hook::Remove, Hook::Kill]);
    }

    #[test]
    fn missing_functions_differ_from_unusable_ones() {
        let plan = plan(&[]);
        let find = |hook| plan.unavailable.iter().find(|unavailable| unavailable.hook == hook).unwrap();
        assert!(find(Hook::Alloc).absent);
        // Only its cold part has a symbol, so there is no function to attach to.
        assert!(find(Hook::Mmap).absent);
        for (hook, reason) in [
            (Hook::Free, "pci_free_p2pmem.isra.0"),
            (Hook::Release, "several functions named pci_p2pdma_release"),
            (Hook::Publish, "no parameter publish"),
        ] {
            let unavailable = find(hook);
            assert!(!unavailable.absent && unavailable.reason.contains(reason), "{unavailable:?}");
        }
    }

    #[test]
    fn page_hooks_need_the_address_of_the_page_array() {
        let mut builder = Builder::new();
        let int = builder.int("int", 4);
        builder.function("dma_map_page_attrs", 0, &[("dev", int), ("page", int)]);
        builder.function("dma_map_phys", 0, &[("dev", int), ("phys", int)]);
        let btf = Btf::parse(builder.build()).unwrap();
        let functions = "ffffffff81000000 T dma_map_page_attrs\nffffffff81000100 T dma_map_phys\n";
        let hooks = [Hook::DmaMapPage, Hook::DmaMapPhys];
        for (base, planned) in
            [("", 1), ("0000000000000000 D vmemmap_base\n", 1), ("ffffffff82000000 D vmemmap_base\n", 2)]
        {
            let symbols = Symbols::parse(format!("{functions}{base}").as_bytes());
            let plan = Plan::new(&symbols, &btf, &hooks);
            assert_eq!(plan.planned.len(), planned, "{base}");
            let page = plan.unavailable.iter().find(|unavailable| unavailable.hook == Hook::DmaMapPage);
            assert!(page.is_none_or(|page| !page.absent && page.reason.contains("vmemmap_base")));
        }
    }

    #[test]
    fn hooks_on_request_are_armed_unless_named() {
        let mut builder = Builder::new();
        let int = builder.int("int", 4);
        let args = [("dev", int), ("sg", int), ("nents", int)];
        builder.function("pci_p2pdma_map_sg_attrs", 0, &args);
        let btf = Btf::parse(builder.build()).unwrap();
        let function = "ffffffff81000000 T pci_p2pdma_map_sg_attrs\n";
        let base = "ffffffff82000000 D vmemmap_base\n";
        for (symbols, only, armed) in [
            (format!("{function}{base}"), vec![], Some(true)),
            (format!("{function}{base}"), vec![Hook::MapSg], Some(false)),
            // Only a hook that compares pages must know where they are.
            (function.to_owned(), vec![], None),
            (function.to_owned(), vec![Hook::MapSg], Some(false)),
        ] {
            let plan = Plan::new(&Symbols::parse(symbols.as_bytes()), &btf, &only);
            let found = plan.planned.iter().find(|planned| planned.row.hook == Hook::MapSg);
            assert_eq!(found.map(|planned| planned.is_armed), armed, "{symbols} {only:?}");
        }
    }
}
