//! Devices whose p2p memory a process has mapped, from `/proc/P/maps`.
//!
//! A mapping is not a reference: an unbind revokes its pages and leaves the mapping (`unmap_mapping_range`), so mappings
//! show which processes may have allocated memory, not which ones hold some.

use std::collections::BTreeMap;

use p2p_trace_model::event::DeviceAddress;

/// The file in a device's folder whose mappings allocate p2p memory (`p2pmem_alloc_mmap`).
const FILE: &str = "/p2pmem/allocate";

/// The suffix that the kernel appends to the path of a deleted file.
const DELETED: &str = " (deleted)";

/// Mappings of one device's memory in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Bytes of address space.
    pub(super) bytes: u64,
    /// The file of some mappings was deleted: the device has since been unbound or removed.
    pub(super) deleted: bool,
}

/// All mappings of p2p memory in a process, by device.
pub(super) fn parse(maps: &[u8]) -> BTreeMap<DeviceAddress, Mapped> {
    let mut devices = BTreeMap::<_, Mapped>::new();
    for line in maps.split(|&byte| byte == b'\n') {
        // Skip most lines with a cheap check.
        if !line.windows(FILE.len()).any(|bytes| bytes == FILE.as_bytes()) {
            continue;
        }
        if let Some((device, mapped)) = parse_line(&String::from_utf8_lossy(line)) {
            let sum = devices.entry(device).or_default();
            sum.bytes = sum.bytes.saturating_add(mapped.bytes);
            sum.deleted |= mapped.deleted;
        }
    }
    devices
}

/// Parses a line such as
/// `7f04559a7000-7f04559b7000 rw-s 00000000 00:15 9124    /sys/devices/pci0000:00/0000:00:01.0/p2pmem/allocate`,
/// wherever sysfs is mounted from the process's point of view.
fn parse_line(line: &str) -> Option<(DeviceAddress, Mapped)> {
    let (addresses, _) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let size = u64::from_str_radix(end, 16).ok()?.checked_sub(u64::from_str_radix(start, 16).ok()?)?;
    let path = line.get(line.find('/')?..)?;
    let (path, deleted) = match path.strip_suffix(DELETED) {
        Some(path) => (path, true),
        None => (path, false),
    };
    let folder = path.strip_suffix(FILE)?;
    let (parent, name) = folder.rsplit_once('/')?;
    let device = name.parse().ok()?;
    let mapped = Mapped { bytes: size, deleted };
    parent.contains("/devices/pci").then_some((device, mapped))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_mappings_by_device() {
        let maps = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon\n\
            7f0000000000-7f0000010000 rw-s 00000000 00:15 9 /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/p2pmem/allocate\n\
            7f0000010000-7f0000011000 rw-s 00010000 00:15 9 /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/p2pmem/allocate (deleted)\n\
            7f0000020000-7f0000021000 rw-s 00000000 00:15 7 /host/sys/devices/pci0000:00/0000:04:00.0/p2pmem/allocate\n\
            7f0000030000-7f0000031000 rw-s 00000000 00:15 7 /home/me/0000:05:00.0/p2pmem/allocate\n\
            7f0000040000-7f0000041000 rw-s 00000000 00:15 7 /sys/devices/pci0000:00/0000:06:00.0/p2pmem/allocated\n\
            7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n";
        let found = parse(maps.as_bytes());
        let first = Mapped { bytes: 0x11000, deleted: true };
        let second = Mapped { bytes: 0x1000, deleted: false };
        let expected =
            [(DeviceAddress::from_devfn(0, 3, 0), first), (DeviceAddress::from_devfn(0, 4, 0), second)];
        assert_eq!(found, BTreeMap::from(expected));
    }

    proptest! {
        #[test]
        fn accepts_any_line(line in "[0-9a-f]{0,17}-?[0-9a-f]{0,17} ?.{0,20}/(devices/pci)?/?[0-9:.]{0,12}/p2pmem/allocate.{0,3}") {
            let _mapped = parse(line.as_bytes());
        }
    }
}
