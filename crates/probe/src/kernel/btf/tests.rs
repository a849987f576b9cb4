//! Tests on hand-made BTF and on mutated BTF.

use proptest::prelude::*;

use super::{members::BUDGET, *};
use crate::testing::btf::Builder;

/// BTF with every construct that the lookups handle.
pub(crate) fn sample() -> Builder {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let u64_ = b.int("long unsigned int", 8);
    let char_ = b.int("char", 1);
    let size = b.typedef("size_t", u64_);
    let name_ptr = b.constant(char_);
    let name_ptr = b.pointer(name_ptr);
    b.structure("kobject", 24, &[("flags", int, 0), ("name", name_ptr, 64)]);
    let kobject = b.count();
    let device = b.structure("device", 40, &[("refs", u64_, 0), ("kobj", kobject, 128)]);
    let device_t = b.typedef("device_t", device);
    let device_t = b.constant(device_t);
    let range = b.structure("range", 16, &[("start", u64_, 0), ("end", u64_, 64)]);
    let ranges = b.array(range, 0);
    let inner = b.structure("", 0, &[("ranges", ranges, 0)]);
    let either = b.composite(5, "", false, 16, &[("range", range, 0), ("", inner, 0)]);
    let ref_ = b.pointer(device);
    let array = b.array(range, 6);
    b.composite(
        4,
        "dev_pagemap",
        true,
        200,
        &[
            ("ref", ref_, 64),
            ("busy", int, 1 << 24 | 0x80),
            ("mode", int, 3 << 24 | 0x81),
            ("", either, 192),
            ("dev", device_t, 320),
            ("mem", array, 640),
            ("size", size, 1408),
        ],
    );
    b.typedef("pagemap_t", b.count());
    // The same name in two namespaces, and an enum with extreme values.
    b.structure("arch_remove_memory", 4, &[]);
    b.function("arch_remove_memory", 0, &[("nid", int), ("start", u64_), ("map", ref_)]);
    b.function("printk", int, &[("fmt", name_ptr), ("", 0)]);
    b.enumeration("memory_type", false, &[("MEMORY_DEVICE_PRIVATE", 1), ("MEMORY_DEVICE_PCI_P2PDMA", 5)]);
    b.enumeration("", true, &[("MINUS_ONE", u32::MAX), ("TWO", 2)]);
    b.enumeration64("wide", &[("WIDE", 1 << 40)]);
    b
}

fn parse(b: &Builder) -> Btf {
    Btf::parse(b.build()).unwrap()
}

#[test]
fn finds_members_through_typedefs_anonymous_members_and_arrays() {
    let btf = parse(&sample());
    let offset = |path| btf.member_offset("dev_pagemap", path);
    assert_eq!(offset("ref"), Some(8));
    assert_eq!(offset("range"), Some(24));
    assert_eq!(offset("ranges"), Some(24));
    assert_eq!(offset("range.end"), Some(32));
    assert_eq!(offset("ranges.end"), Some(32));
    assert_eq!(offset("dev.kobj.name"), Some(40 + 16 + 8));
    assert_eq!(offset("mem.end"), Some(88));
    assert_eq!(btf.member_offset("pagemap_t", "range.end"), Some(32));
}

#[test]
fn reports_the_shape_and_size_of_a_member() {
    let btf = parse(&sample());
    assert_eq!(btf.member_type_is_pointer("dev_pagemap", "ref"), Some(true));
    assert_eq!(btf.member_type_is_pointer("dev_pagemap", "range"), Some(false));
    assert_eq!(btf.member_type_is_pointer("dev_pagemap", "gone"), None);
    let mem = btf.member("dev_pagemap", "mem").unwrap();
    assert_eq!((mem.shape, mem.size), (Shape::Array, Some(96)));
    assert_eq!(btf.member("dev_pagemap", "ranges").unwrap().size, None);
    assert_eq!(btf.member("dev_pagemap", "size").unwrap().shape, Shape::Integer);
    assert_eq!(btf.struct_size("dev_pagemap"), Some(200));
    assert_eq!(btf.struct_size("pagemap_t"), Some(200));
    assert_eq!(btf.struct_size("memory_type"), None);
}

#[test]
fn bit_field_has_a_width_and_no_byte_offset() {
    let btf = parse(&sample());
    let busy = btf.member("dev_pagemap", "busy").unwrap();
    assert_eq!((busy.bit_offset, busy.bit_field, busy.offset()), (128, Some(1), None));
    let mode = btf.member("dev_pagemap", "mode").unwrap();
    assert_eq!((mode.bit_offset, mode.bit_field), (129, Some(3)));
}

#[test]
fn recognizes_a_bit_field_of_old_btf_by_its_integer_type() {
    let mut b = Builder::new();
    // Encoding: shift 5, width 3, in four bytes.
    let odd = b.raw("", 1, false, 0, 4, &[5 << 16 | 3]);
    b.structure("s", 4, &[("field", odd, 8)]);
    let field = parse(&b).member("s", "field").unwrap();
    assert_eq!((field.bit_offset, field.bit_field), (13, Some(3)));
}

#[test]
fn lookup_errors_name_the_missing_part() {
    let btf = parse(&sample());
    let error = |path| btf.member("dev_pagemap", path).unwrap_err().to_string();
    assert_eq!(error("gone"), "struct dev_pagemap has no member gone on this kernel");
    assert_eq!(error("dev.kobj.gone"), "struct dev_pagemap has no member gone on this kernel");
    assert_eq!(
        error("ref.kobj"),
        "ref in struct dev_pagemap is not a struct or union, so the path cannot continue after it"
    );
    assert_eq!(
        btf.member("pci_p2pdma", "pool").unwrap_err().to_string(),
        "this kernel has no struct pci_p2pdma"
    );
    assert!(btf.member("dev_pagemap", "").is_err());
    assert!(btf.member("dev_pagemap", "dev.").is_err());
    assert!(btf.member("", "x").is_err());
}

#[test]
fn definitions_of_the_same_name_must_agree() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    b.structure("s", 8, &[("a", int, 0), ("b", int, 32)]);
    b.structure("s", 8, &[("a", int, 0), ("b", int, 0), ("c", int, 32)]);
    let btf = parse(&b);
    assert_eq!(btf.member_offset("s", "a"), Some(0));
    assert!(matches!(btf.member("s", "b"), Err(LookupError::Ambiguous { .. })));
    assert_eq!(btf.member_offset("s", "c"), Some(4));
    assert!(matches!(btf.member("s", "d"), Err(LookupError::NoMember { .. })));
    assert_eq!(btf.struct_size("s"), Some(8));
}

#[test]
fn functions_have_parameters_by_name() {
    let btf = parse(&sample());
    let func = btf.func("arch_remove_memory").unwrap();
    assert_eq!(func.param_count(), 3);
    assert_eq!(func.param_index("start"), Some(1));
    assert_eq!(func.param_index("size"), None);
    assert!(func.returns.is_none());
    assert_eq!(func.params[2].points_to.as_deref(), Some("device"));
    let printk = btf.func("printk").unwrap();
    assert_eq!((printk.param_count(), printk.returns), (1, Some(Shape::Integer)));
    assert_eq!(btf.func("dev_pagemap"), None);
    assert_eq!(btf.struct_size("arch_remove_memory"), Some(4));
    assert!(!btf.has_struct("printk"));
}

#[test]
fn enumerators_have_values() {
    let btf = parse(&sample());
    assert_eq!(btf.enum_value("memory_type", "MEMORY_DEVICE_PCI_P2PDMA"), Some(5));
    assert_eq!(btf.enum_value("memory_type", "MINUS_ONE"), None);
    assert_eq!(btf.enumerator("MINUS_ONE"), Some(-1));
    assert_eq!(btf.enum_value("wide", "WIDE"), Some(1 << 40));
    assert_eq!(btf.enumerator("NOWHERE"), None);
}

#[test]
fn skips_an_unknown_kind_if_the_file_describes_its_size() {
    let mut b = Builder::new();
    b.raw("", 20, false, 2, 0, &[0; 5]);
    let int = b.int("int", 4);
    b.structure("s", 8, &[("a", int, 32)]);
    assert!(matches!(Btf::parse(b.build()), Err(BtfError::UnknownKind { kind: 20, id: 1 })));
    let mut layout = [(0, 0); 21];
    layout[20] = (4, 8);
    let btf = Btf::parse(b.build_with_layout(&layout)).unwrap();
    assert_eq!(btf.member_offset("s", "a"), Some(4));
}

#[test]
fn lookups_in_cyclic_types_end() {
    let mut b = Builder::new();
    // 1 → 2 → 1, by typedef; 3 contains itself; 4 points to nothing.
    b.typedef("a", 2);
    b.typedef("b", 1);
    b.composite(5, "u", false, 4, &[("", 3, 0), ("", 3, 0)]);
    b.structure("s", 4, &[("x", 1, 0), ("y", 77, 0)]);
    let btf = parse(&b);
    assert_eq!(btf.struct_size("a"), None);
    assert!(matches!(btf.member("u", "x"), Err(LookupError::Endless { .. })));
    assert_eq!(btf.member("s", "x").unwrap().shape, Shape::Other);
    assert_eq!(btf.member("s", "y").unwrap().size, None);
    assert!(matches!(btf.member("s", "x.y"), Err(LookupError::NotComposite { .. })));
}

#[test]
fn one_budget_covers_all_structs_of_a_name() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let inner = b.structure("", 4, &vec![("y", int, 0); 300]);
    // Each one has 60,000 members to visit.
    let wide = vec![("", inner, 0); 200];
    for (name, count) in [("once", 1), ("often", 2)] {
        for _ in 0..count {
            b.structure(name, 4, &wide);
        }
        b.structure(name, 4, &[("x", int, 0)]);
    }
    for _ in 0..BUDGET {
        b.structure("empty", 4, &[]);
    }
    let btf = parse(&b);
    assert_eq!(btf.member("once", "x").unwrap().shape, Shape::Integer);
    assert!(matches!(btf.member("often", "x"), Err(LookupError::Endless { .. })));
    assert!(matches!(btf.member("empty", "x"), Err(LookupError::NoMember { .. })));
    b.structure("empty", 4, &[]);
    assert!(matches!(parse(&b).member("empty", "x"), Err(LookupError::Endless { .. })));
}

#[test]
fn rejects_bytes_that_are_not_btf() {
    let refuse = |bytes: &[u8]| Btf::parse(bytes.to_vec()).unwrap_err();
    assert!(matches!(refuse(b""), BtfError::Truncated { .. }));
    assert!(matches!(refuse(b"hello"), BtfError::NotBtf));
    assert!(matches!(refuse(b"\xeb\x9f\x01\x00"), BtfError::BigEndian));
    assert!(matches!(refuse(b"\x9f\xeb\x02\x00"), BtfError::Version { version: 2 }));
    assert!(matches!(refuse(b"\x7fELF\x02\x01"), BtfError::NoElfSection));
    let complete = sample().build();
    for len in 0..complete.len() {
        assert!(Btf::parse(complete[..len].to_vec()).is_err(), "{len} bytes");
    }
}

#[test]
fn finds_the_section_of_an_elf_file() {
    let btf = sample().build();
    let names = b"\0.BTF_ids\0.BTF\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let section = |name: u32, offset: usize, len: usize| {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(len as u64).to_le_bytes());
        header
    };
    let names_at = 64;
    let btf_at = names_at + names.len();
    let table = btf_at + btf.len();
    elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
    elf[0x3a..0x40].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    elf.extend_from_slice(names);
    elf.extend_from_slice(&btf);
    elf.extend(section(1, 0, 3));
    elf.extend(section(10, btf_at, btf.len()));
    elf.extend(section(15, names_at, names.len()));
    assert!(Btf::parse(elf).unwrap().has_struct("dev_pagemap"));
}

fn make_all_lookups(btf: &Btf) {
    for name in ["dev_pagemap", "pagemap_t", "device", "", "arch_remove_memory"] {
        for path in ["dev.kobj.name", "mem.end", "ranges.end", "busy", "ref.x", ""] {
            let _answer = btf.member(name, path);
        }
        let _func = btf.func(name);
        let _size = btf.struct_size(name);
    }
    let _value = (btf.enum_value("memory_type", "TWO"), btf.enumerator("TWO"));
}

proptest! {
    #[test]
    fn mutated_btf_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = sample().build();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(btf) = Btf::parse(bytes) {
            make_all_lookups(&btf);
        }
    }

    #[test]
    fn random_records_never_panic(records in prop::collection::vec(record(), 1..40)) {
        let mut b = Builder::new();
        for (name, kind, flag, words) in records {
            let count = words.len() / 3;
            b.raw(name, kind, flag, count, words[0], &words[..count * 3]);
        }
        if let Ok(btf) = Btf::parse(b.build()) {
            make_all_lookups(&btf);
        }
    }
}

/// A record with small and therefore mostly valid references.
fn record() -> impl Strategy<Value = (&'static str, u8, bool, Vec<u32>)> {
    let name = prop::sample::select(vec!["", "dev_pagemap", "device", "arch_remove_memory"]);
    let kind = prop::sample::select(vec![4u8, 5, 4, 5, 15, 19]);
    (name, kind, any::<bool>(), prop::collection::vec(0..48u32, 3..30))
}
