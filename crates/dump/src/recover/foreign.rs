//! What is given in place of a memory dump, by its first bytes, and what to do with it.

use super::{
    elf, flattened, kdump, lime,
    memory::Format,
    open::{self, Kind},
};

/// As many bytes tell all of them apart: a tar file names itself behind its first entry.
pub const PREFIX: usize = 264;

/// Where and with what such a file names itself, what it is, and what to do.
type Row = (usize, &'static [u8], &'static str, &'static str);

const ROWS: [Row; 16] = [
    (0, b"\x1f\x8b\x08", "compressed as a whole (gzip)", "gunzip -k it, and give what comes out"),
    (0, b"\xfd7zXZ\0", "compressed as a whole (xz)", "xz -dk it, and give what comes out"),
    (0, b"\x28\xb5\x2f\xfd", "compressed as a whole (zstd)", "zstd -d it, and give what comes out"),
    (0, b"BZh", "compressed as a whole (bzip2)", "bunzip2 -k it, and give what comes out"),
    (0, b"\x04\x22\x4d\x18", "compressed as a whole (lz4)", "lz4 -d it, and give what comes out"),
    (0, b"\x02\x21\x4c\x18", "compressed as a whole (lz4)", "lz4 -d it, and give what comes out"),
    (0, b"\x89LZO\0", "compressed as a whole (lzop)", "lzop -d it, and give what comes out"),
    (0, b"PK\x03\x04", "a zip archive", "unzip it, and give the file that was in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x it, and give the file that was in it"),
    (257, b"ustar", "a tar archive", "tar -xf it, and give the file that was in it"),
    (0, LIBVIRT[0], SAVED, DUMP),
    (0, LIBVIRT[1], SAVED, DUMP),
    (0, b"QEVM", "the saved state of a virtual machine (QEMU)", DUMP),
    (0, b"AVML", "an image of AVML's own format", "avml-convert it to a LiME image, and give that"),
    (
        0,
        b"\xc3\x28\x00\x00LMVA",
        "an image of AVML's own format",
        "avml-convert it to a LiME image, and give that",
    ),
    (
        0,
        DUMP_MAGIC,
        "an event dump of p2p-trace, not the memory of a kernel",
        "use `p2p-trace check` or `p2p-trace replay`",
    ),
];

const LIBVIRT: [&[u8]; 2] = [b"LibvirtQemudSave", b"LibvirtQemudPart"];
const SAVED: &str = "the saved state of a virtual machine (virsh save), not its memory as it lay";
const DUMP: &str = "virsh restore it, and take `virsh dump --memory-only --format elf` (or dump-guest-memory) of the machine";
/// What a block of an event dump begins with.
const DUMP_MAGIC: &[u8] = b"\x89P2PTD\r\n";

/// What a file is that holds no memory as it lay in a machine, in a sentence with the remedy; `None`: nothing that is known.
#[must_use]
pub fn container(prefix: &[u8]) -> Option<String> {
    let is = |(at, magic, ..): &&Row| prefix.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    let (_, _, what, remedy) = ROWS.iter().find(is)?;
    Some(format!("it is {what}: {remedy}"))
}

/// What a file is that is no event dump, in a sentence with the remedy; `None`: nothing that is known.
#[must_use]
pub fn no_event_dump(prefix: &[u8]) -> Option<String> {
    if prefix.starts_with(DUMP_MAGIC) {
        return None;
    }
    let what = if prefix.starts_with(flattened::MAGIC) {
        "flattened".to_owned()
    } else if prefix.starts_with(elf::MAGIC)
        || prefix.starts_with(kdump::MAGIC)
        || prefix.starts_with(lime::MAGIC)
    {
        match open::kind(prefix) {
            Kind::Plain(Format::Elf) => "ELF".to_owned(),
            Kind::Plain(format) => format.to_string(),
            Kind::Flattened => "flattened".to_owned(),
        }
    } else {
        return container(prefix);
    };
    Some(format!(
        "it is the memory dump of a kernel or a like file ({what}), not an event dump: use `p2p-trace recover`, which makes one of it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_memory_dump_is_named_with_the_remedy() {
        for (at, magic, what, remedy) in ROWS {
            let mut file = vec![0; PREFIX];
            file[at..at + magic.len()].copy_from_slice(magic);
            let said = container(&file).unwrap();
            assert!(said.contains(what) && said.contains(remedy), "{said}");
            assert_eq!(container(&file[..at + magic.len() - 1]), None);
            let said = no_event_dump(&file);
            assert_eq!(said.is_none(), magic == DUMP_MAGIC, "{said:?}");
        }
        assert_eq!(container(b"\x7fELF\x02\x01\x01"), None);
        for memory in [&b"\x7fELF"[..], b"KDUMP   ", b"makedumpfile\0\0\0\0", b"EMiL\x01\0\0\0"] {
            assert!(no_event_dump(memory).unwrap().contains("p2p-trace recover"));
            assert_eq!(container(memory), None);
        }
        assert_eq!(no_event_dump(b"nothing that is known"), None);
    }
}
