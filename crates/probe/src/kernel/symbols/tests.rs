//! Tests on an excerpt of a real kernel's symbols, and on invented ones.

use proptest::prelude::*;

use super::*;

/// Lines of a guest's `/proc/kallsyms` (6.12.107, nvme loaded): the symbols around p2pdma and the complete nvme module.
const REAL: &[u8] = include_bytes!("../../../tests/fixtures/kallsyms-6.12.txt");

fn named(address: u64) -> Option<String> {
    Symbols::parse(REAL).symbolise(address).map(|symbol| symbol.to_string())
}

#[test]
fn finds_functions_by_exact_name() {
    let symbols = Symbols::parse(REAL);
    assert!(!symbols.addresses_hidden());
    assert!(symbols.has("pci_alloc_p2pmem") && symbols.has("nvme_alloc_queue"));
    assert!(!symbols.has("pci_alloc_p2pme") && !symbols.has("match_id") && !symbols.has(""));
    assert!(!symbols.has("p2pmem_group"), "data is not a function");
    assert!(!symbols.has("__pfx_pci_alloc_p2pmem"));
    let queue: Vec<_> = symbols.functions("nvme_alloc_queue").collect();
    let expected =
        Function { name: "nvme_alloc_queue", address: Some(0xffff_ffff_c034_1130), module: Some("nvme") };
    assert_eq!(queue, [expected]);
}

#[test]
fn lists_the_variants_of_a_function() {
    let symbols = Symbols::parse(REAL);
    assert_eq!(symbols.variants("match_id"), ["match_id.isra.0"]);
    assert_eq!(symbols.variants("nvme_prep_rq"), ["nvme_prep_rq.part.0"]);
    assert!(symbols.variants("pci_alloc_p2pmem").is_empty());
}

#[test]
fn names_addresses() {
    assert_eq!(named(0xffff_ffff_9b8c_3e40).unwrap(), "pci_alloc_p2pmem+0x0");
    assert_eq!(named(0xffff_ffff_9b8c_3e9f).unwrap(), "pci_alloc_p2pmem+0x5f");
    assert_eq!(named(0xffff_ffff_c034_12d3).unwrap(), "nvme_alloc_queue+0x1a3 [nvme]");
    // Two functions at one address: the first one in the file is used.
    assert_eq!(named(0xffff_ffff_c034_5cd4).unwrap(), "nvme_exit+0x4 [nvme]");
}

#[test]
fn names_no_address_outside_functions() {
    assert_eq!(named(0), None);
    assert_eq!(named(0xffff_ffff_9b1f_ffff), None, "before _stext");
    assert_eq!(named(0xffff_ffff_9b20_0010), None, "no function known at _stext");
    assert_eq!(named(0xffff_ffff_9c00_0000), None, "_etext");
    assert_eq!(named(0xffff_ffff_9c4c_e1e8), None, "a variable");
    assert_eq!(named(0xffff_ffff_c036_0000), None, "far behind the last module's code");
    assert_eq!(named(u64::MAX), None);
}

#[test]
fn finds_markers_and_variables() {
    let symbols = Symbols::parse(REAL);
    assert_eq!(symbols.address_of("vmemmap_base"), Some(0xffff_ffff_9c4c_e1e8));
    assert_eq!(symbols.address_of("page_offset_base"), Some(0xffff_ffff_9c4c_e1f8));
    assert_eq!(symbols.address_of("__per_cpu_offset"), Some(0xffff_ffff_9c4d_ea60));
    let kernel = 0xffff_ffff_9b20_0000..0xffff_ffff_9c00_0000;
    let init = 0xffff_ffff_9d04_d000..0xffff_ffff_9d0d_86c4;
    assert_eq!(symbols.text, [kernel, init]);
}

#[test]
fn address_of_static_needs_exactly_one_match() {
    let address = |text: &str| Symbols::parse(text.as_bytes()).address_of_static("p2pdma_pgmap_ops");
    let plain = "ffffffff82000010 r p2pdma_pgmap_ops\n";
    let linked = "ffffffff82000020 d p2pdma_pgmap_ops.llvm.1234\n";
    let of_module = "ffffffffc0000030 r p2pdma_pgmap_ops\t[other]\n";
    assert_eq!(address(plain), Some(0xffff_ffff_8200_0010));
    assert_eq!(address(&format!("{of_module}{linked}")), Some(0xffff_ffff_8200_0020));
    assert_eq!(address(&format!("{plain}{linked}")), None, "ambiguous");
    assert_eq!(address(of_module), None);
}

#[test]
fn finds_names_if_addresses_are_hidden() {
    let text = "0000000000000000 T _stext\n0000000000000000 t dev_attr_show\n\
                0000000000000000 t nvme_exit\t[nvme]\n";
    let symbols = Symbols::parse(text.as_bytes());
    assert!(symbols.addresses_hidden());
    assert!(symbols.has("dev_attr_show"));
    let exit = symbols.functions("nvme_exit").next().unwrap();
    assert_eq!((exit.address, exit.module), (None, Some("nvme")));
    assert_eq!(symbols.symbolise(0), None);
    assert_eq!(symbols.address_of("_stext"), None);
    assert!(!Symbols::parse(b"").addresses_hidden());
}

#[test]
fn several_functions_may_share_a_name() {
    let symbols = Symbols::parse(b"30 t show\n10 t show\n20 t show\t[mod]\n");
    let addresses: Vec<_> = symbols.functions("show").filter_map(|function| function.address).collect();
    assert_eq!(addresses, [0x10, 0x20, 0x30]);
}

#[test]
fn skips_invalid_lines() {
    for line in ["", " ", "x T name", "10 T ", "10 T", "10  name", "00112233445566778 T name"] {
        assert!(Symbols::parse(line.as_bytes()).entries.is_empty(), "{line:?}");
    }
}

proptest! {
    #[test]
    fn symbolise_finds_the_nearest_function_before_an_address(starts in prop::collection::btree_set(1u64..1000, 1..50), address in 0u64..1100) {
        let lines: String = starts.iter().flat_map(|start| [format!("{start:x} t f{start}"), "\t[m]\n".to_owned()]).collect();
        let found = Symbols::parse(lines.as_bytes()).symbolise(address);
        let expected = starts.range(..=address).next_back().map(|start| Symbol {
            name: format!("f{start}").into(),
            offset: address - start,
            module: Some("m".into()),
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn finds_all_functions_of_a_name_and_its_variants(names in prop::collection::vec("[ab]{1,2}(\\.[ab])?", 0..40), name in "[ab]{1,2}") {
        let line = |(at, name): (usize, &String)| format!("{:x} t {name}\n", at + 1);
        let symbols = Symbols::parse(names.iter().enumerate().map(line).collect::<String>().as_bytes());
        let found: Vec<_> = symbols.functions(&name).filter_map(|function| function.address).collect();
        let expected: Vec<_> = (1u64..).zip(&names).filter(|(_, other)| **other == name).map(|(at, _)| at).collect();
        prop_assert_eq!(found, expected);
        let mut variants: Vec<_> = names.iter().filter(|other| other.starts_with(&format!("{name}."))).collect();
        variants.sort();
        prop_assert_eq!(symbols.variants(&name), variants);
    }

    #[test]
    fn accepts_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), address in any::<u64>()) {
        let symbols = Symbols::parse(&bytes);
        let _symbol = symbols.symbolise(address);
    }
}
