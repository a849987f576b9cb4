//! Reads a file that the user passed as the kernel's types, and names its kind if it contains none.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use p2p_trace_model::names::elf_machine;

use super::{Btf, BtfError};

/// More than any kernel's types need. Of an ELF file, only the section with the types counts.
const LIMIT: u64 = 256 << 20;

/// The offset and bytes of a magic number, the kind of file it identifies, and the remedy.
type Row = (usize, &'static [u8], &'static str, &'static str);

const UNPACK: &str = "decompress it first";
const VMLINUX: &str =
    "pass the vmlinux inside it (extract it with scripts/extract-vmlinux of the kernel's sources)";
const ROWS: [Row; 10] = [
    (0, b"\x1f\x8b", "compressed (gzip)", UNPACK),
    (0, b"\xfd7zXZ\0", "compressed (xz)", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)", UNPACK),
    (0, b"BZh", "compressed (bzip2)", UNPACK),
    (0, b"\x04\x22\x4d\x18", "compressed (lz4)", UNPACK),
    (0, b"\x02\x21\x4c\x18", "compressed (lz4)", UNPACK),
    (0x202, b"HdrS", "a kernel image (bzImage)", VMLINUX),
    (
        56,
        b"ARM\x64",
        "an AArch64 kernel image, but only x86-64 is supported",
        "pass the types of the running kernel",
    ),
    (0, b"MZ", "a kernel image (EFI)", VMLINUX),
    (
        0,
        b"\xeb\x9f",
        "BTF of a big-endian machine, but only x86-64 is supported",
        "pass the types of the running kernel",
    ),
];

const EM_X86_64: u16 = 62;
const EM_BPF: u16 = 247;
const ET_REL: u16 = 1;
const SHT_NOBITS: u32 = 8;
const SHF_COMPRESSED: u64 = 0x800;
const ELF_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;

/// Members of `struct pt_regs` that identify the machine.
const REGISTERS: [(&str, &str); 5] = [
    ("pstate", "AArch64 (64-bit Arm)"),
    ("psw", "s390x"),
    ("gpr", "PowerPC"),
    ("epc", "RISC-V"),
    ("csr_era", "LoongArch"),
];

/// Reads the types from a file: the complete file, or the `.BTF` section of an ELF file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    let failed = |source| BtfError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(1024).read_to_end(&mut start).map_err(failed)?;
    refuse(&start)?;
    if start.starts_with(b"\x7fELF") {
        return section(&mut file, &start).map_err(failed)?;
    }
    file.take(LIMIT + 1).read_to_end(&mut start).map_err(failed)?;
    if start.len() as u64 > LIMIT { Err(too_large()) } else { Ok(start) }
}

/// Checks that the types a user passed are those of a complete kernel for this machine.
pub(super) fn check(btf: &Btf) -> Result<(), BtfError> {
    if !btf.string(0).is_empty() {
        return Err(foreign("BTF of a kernel module, which extends the kernel's", "pass the kernel's BTF"));
    }
    let has = |register| btf.member_offset("pt_regs", register).is_some();
    if let Some((_, machine)) = REGISTERS.iter().find(|(register, _)| has(register) && !has("orig_ax")) {
        let kind = format!("BTF of a {machine} kernel, but only x86-64 is supported");
        return Err(foreign(&kind, "pass the types of the running kernel"));
    }
    match ["task_struct", "pci_dev"].iter().find(|name| !btf.has_struct(name)) {
        Some(name) => {
            let kind = format!("not the BTF of a complete kernel with PCI (there is no struct {name})");
            Err(foreign(&kind, "pass the kernel's BTF or its vmlinux"))
        }
        None => Ok(()),
    }
}

fn foreign(kind: &str, remedy: &str) -> BtfError {
    BtfError::Foreign { message: format!("the file is {kind}: {remedy}").into() }
}

fn too_large() -> BtfError {
    BtfError::Foreign {
        message: format!("more than {} MiB to read, which is more than any kernel's types", LIMIT >> 20)
            .into(),
    }
}

fn refuse(start: &[u8]) -> Result<(), BtfError> {
    let is = |(at, magic, ..): &&Row| start.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, kind, remedy)) = ROWS.iter().find(is) {
        return Err(foreign(kind, remedy));
    }
    let half = |at: usize| Some(u16::from_le_bytes(start.get(at..at + 2)?.try_into().ok()?));
    let Some((kind, machine)) = half(16).zip(half(18)).filter(|_| start.starts_with(b"\x7fELF")) else {
        return Ok(());
    };
    let machine = if start.get(5) == Some(&2) { machine.swap_bytes() } else { machine };
    match (machine, kind) {
        (EM_BPF, _) => {
            Err(foreign("a BPF object, which has only its own types", "pass the kernel's BTF or its vmlinux"))
        }
        (EM_X86_64, ET_REL) => {
            Err(foreign("a kernel module or another object file", "pass the kernel's BTF or its vmlinux"))
        }
        (EM_X86_64, _) => Ok(()),
        (other, _) => {
            let kind = format!("an ELF file for {}, but only x86-64 is supported", elf_machine(other));
            Err(foreign(&kind, "pass the types of the running kernel"))
        }
    }
}

/// The `.BTF` section of a 64-bit little-endian file. The rest, possibly gigabytes of debug information, is not read.
fn section(file: &mut File, start: &[u8]) -> io::Result<Result<Vec<u8>, BtfError>> {
    let found = find(file, start)?;
    Ok(match found {
        Some((_, size)) if size > LIMIT => Err(too_large()),
        Some((offset, size)) => Ok(at(file, offset, size)?),
        None => Err(BtfError::NoElfSection),
    })
}

/// Offset and size of the section.
fn find(file: &mut File, start: &[u8]) -> io::Result<Option<(u64, u64)>> {
    let Some(header) = start.get(..ELF_HEADER).filter(|header| header[4..6] == [2, 1]) else {
        return Ok(None);
    };
    let (table, count, names) = (word(header, 40), half(header, 60), half(header, 62));
    let headers = at(file, table, u64::from(count) * SECTION_HEADER as u64)?;
    let headers: Vec<_> = headers.chunks_exact(SECTION_HEADER).collect();
    let Some(names) = headers.get(usize::from(names)) else { return Ok(None) };
    let names = at(file, word(names, 24), word(names, 32).min(1 << 20))?;
    let is_btf = |header: &&&[u8]| {
        let name = names.get(quarter(header, 0) as usize..);
        name.is_some_and(|name| name.starts_with(b".BTF\0"))
            && quarter(header, 4) != SHT_NOBITS
            && word(header, 8) & SHF_COMPRESSED == 0
    };
    Ok(headers.iter().find(is_btf).map(|header| (word(header, 24), word(header, 32))))
}

fn at(file: &mut File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.by_ref().take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn quarter(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
