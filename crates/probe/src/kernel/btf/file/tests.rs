use std::fs;

use super::*;
use crate::testing::btf::Builder;

/// Reads a file as the kernel's types; the error is the message.
fn named(bytes: &[u8]) -> Result<Btf, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("types");
    fs::write(&path, bytes).unwrap();
    Btf::given(&path).map_err(|error| error.to_string())
}

fn kernel(registers: &[&str]) -> Builder {
    let mut types = Builder::new();
    let long = types.int("long", 8);
    for name in ["task_struct", "pci_dev"] {
        types.structure(name, 8, &[("x", long, 0)]);
    }
    let registers: Vec<_> = registers.iter().map(|name| (*name, long, 0)).collect();
    types.structure("pt_regs", 8, &registers);
    types
}

/// An ELF file of this machine and type with one section, which follows a hole in the file.
fn elf(machine: u16, kind: u16, btf: &[u8], hole: u64) -> (Vec<u8>, u64, Vec<u8>) {
    let names = b"\0.BTF\0.shstrtab\0";
    let section = |name: u32, offset: u64, size: usize| {
        let mut header = [0; SECTION_HEADER];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        header
    };
    let (names_at, btf_at) = (hole, hole + names.len() as u64);
    let table = btf_at + btf.len() as u64;
    let mut start = vec![0; ELF_HEADER];
    start[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    start[16..18].copy_from_slice(&kind.to_le_bytes());
    start[18..20].copy_from_slice(&machine.to_le_bytes());
    start[40..48].copy_from_slice(&table.to_le_bytes());
    start[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    let mut rest = [names.as_slice(), btf].concat();
    for header in [section(0, 0, 0), section(1, btf_at, btf.len()), section(6, names_at, names.len())] {
        rest.extend(header);
    }
    (start, hole, rest)
}

fn file(machine: u16, kind: u16, btf: &[u8]) -> Vec<u8> {
    let (start, _, rest) = elf(machine, kind, btf, ELF_HEADER as u64);
    [start, rest].concat()
}

#[test]
fn accepts_the_types_of_a_complete_kernel() {
    let types = kernel(&["orig_ax", "di"]).build();
    assert!(named(&types).is_ok());
    assert!(named(&file(EM_X86_64, 2, &types)).is_ok());
}

#[test]
fn names_the_kind_of_other_files() {
    for (at, magic, kind, remedy) in ROWS {
        let mut bytes = vec![0; 1024];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        let error = named(&bytes).unwrap_err();
        assert!(error.contains(kind) && error.contains(remedy), "{error}");
    }
    let types = kernel(&["orig_ax"]).build();
    for (machine, kind, words) in [
        (EM_BPF, 1, "a BPF object"),
        (EM_X86_64, ET_REL, "a kernel module"),
        (183, 2, "AArch64"),
        (22, 2, "s390x"),
    ] {
        let error = named(&file(machine, kind, &types)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    for (register, machine) in REGISTERS {
        let error = named(&kernel(&[register]).build()).unwrap_err();
        assert!(error.contains(machine), "{error}");
    }
    // The string section starts with a non-empty string, because a module's strings continue its kernel's.
    let mut module = types;
    let strings = 24 + u32::from_le_bytes(module[16..20].try_into().unwrap()) as usize;
    module[strings] = b'x';
    assert!(named(&module).unwrap_err().contains("kernel module"));
    let mut other = Builder::new();
    other.int("int", 4);
    assert!(named(&other.build()).unwrap_err().contains("no struct task_struct"));
}

#[test]
fn reads_no_more_than_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = |name: &str, size: u64| {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    };
    let error = |path: &Path| Btf::given(path).map(|_| ()).unwrap_err().to_string();
    assert!(error(&sparse("types", 1 << 40)).contains("256 MiB"));
    // A vmlinux with gigabytes of debug information before its types.
    let types = kernel(&["orig_ax"]).build();
    let path = sparse("vmlinux", 1 << 40);
    let write = |(start, hole, rest): (Vec<u8>, u64, Vec<u8>)| {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&start, 0).unwrap();
        file.write_all_at(&rest, hole).unwrap();
    };
    write(elf(EM_X86_64, 2, &types, 1 << 36));
    assert!(Btf::given(&path).is_ok());
    let (start, hole, mut rest) = elf(EM_X86_64, 2, &types, 1 << 36);
    let size = rest.len() - 2 * SECTION_HEADER + 32;
    rest[size..size + 8].copy_from_slice(&(LIMIT + 1).to_le_bytes());
    write((start, hole, rest));
    assert!(error(&path).contains("256 MiB"));
}
