//! Recognizes files that are not memory dumps by their first bytes, with a remedy for each.

use super::{
    elf, flattened, kdump, lime,
    memory::Format,
    open::{self, Kind},
};

/// Number of first bytes needed: a tar file is identified behind its first entry.
pub const PREFIX: usize = 264;

/// Offset and magic of a kind of file, its name, and the remedy.
type Row = (usize, &'static [u8], &'static str, &'static str);

const ROWS: [Row; 16] = [
    (0, b"\x1f\x8b\x08", "compressed (gzip)", "run `gunzip -k`, and use the result"),
    (0, b"\xfd7zXZ\0", "compressed (xz)", "run `xz -dk`, and use the result"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)", "run `zstd -d`, and use the result"),
    (0, b"BZh", "compressed (bzip2)", "run `bunzip2 -k`, and use the result"),
    (0, b"\x04\x22\x4d\x18", "compressed (lz4)", "run `lz4 -d`, and use the result"),
    (0, b"\x02\x21\x4c\x18", "compressed (lz4)", "run `lz4 -d`, and use the result"),
    (0, b"\x89LZO\0", "compressed (lzop)", "run `lzop -d`, and use the result"),
    (0, b"PK\x03\x04", "a zip archive", "run `unzip`, and use the file in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "run `7z x`, and use the file in it"),
    (257, b"ustar", "a tar archive", "run `tar -xf`, and use the file in it"),
    (0, LIBVIRT[0], SAVED, DUMP),
    (0, LIBVIRT[1], SAVED, DUMP),
    (0, b"QEVM", "the saved state of a virtual machine (QEMU)", DUMP),
    (0, b"AVML", "an image in AVML's own format", "convert it to a LiME image with `avml-convert`"),
    (
        0,
        b"\xc3\x28\x00\x00LMVA",
        "an image in AVML's own format",
        "convert it to a LiME image with `avml-convert`",
    ),
    (
        0,
        DUMP_MAGIC,
        "an event dump of p2p-trace, not a kernel memory dump",
        "use `p2p-trace check` or `p2p-trace replay`",
    ),
];

const LIBVIRT: [&[u8]; 2] = [b"LibvirtQemudSave", b"LibvirtQemudPart"];
const SAVED: &str = "the saved state of a virtual machine (virsh save), not an image of its memory";
const DUMP: &str =
    "restore it, and dump the machine with `virsh dump --memory-only --format elf` (or dump-guest-memory)";
/// First bytes of an event dump's block.
const DUMP_MAGIC: &[u8] = b"\x89P2PTD\r\n";

/// A sentence that names the kind of a file that is not an image of memory, with the remedy; `None` if the
/// kind is unknown.
#[must_use]
pub fn container(prefix: &[u8]) -> Option<String> {
    let is = |(at, magic, ..): &&Row| prefix.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    let (_, _, kind, remedy) = ROWS.iter().find(is)?;
    Some(format!("it is {kind}: {remedy}"))
}

/// A sentence that names the kind of a file that is not an event dump, with the remedy; `None` if the kind is
/// unknown.
#[must_use]
pub fn no_event_dump(prefix: &[u8]) -> Option<String> {
    if prefix.starts_with(DUMP_MAGIC) {
        return None;
    }
    let kind = if prefix.starts_with(flattened::MAGIC) {
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
        "it is a kernel memory dump or a similar file ({kind}), not an event dump: use `p2p-trace recover` to extract one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_other_files_with_remedy() {
        for (at, magic, kind, remedy) in ROWS {
            let mut file = vec![0; PREFIX];
            file[at..at + magic.len()].copy_from_slice(magic);
            let message = container(&file).unwrap();
            assert!(message.contains(kind) && message.contains(remedy), "{message}");
            assert_eq!(container(&file[..at + magic.len() - 1]), None);
            let message = no_event_dump(&file);
            assert_eq!(message.is_none(), magic == DUMP_MAGIC, "{message:?}");
        }
        assert_eq!(container(b"\x7fELF\x02\x01\x01"), None);
        for memory in [&b"\x7fELF"[..], b"KDUMP   ", b"makedumpfile\0\0\0\0", b"EMiL\x01\0\0\0"] {
            assert!(no_event_dump(memory).unwrap().contains("p2p-trace recover"));
            assert_eq!(container(memory), None);
        }
        assert_eq!(no_event_dump(b"an unknown file"), None);
    }
}
