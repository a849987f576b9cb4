//! Additional devices of a virtual machine: shares of the host's files, and sinks for the messages of a dying
//! kernel.

use std::path::Path;

use super::machine::option;

/// Device number of the share of the host's files; does not conflict with the drives.
const SHARE: u8 = 0x19;
/// Device number of the share that dumps are written to.
const OUT: u8 = 0x1a;
/// Device number of the network card.
const NETWORK: u8 = 0x1b;

/// Tag by which a guest mounts the host's root folder over 9p.
pub(crate) const HOST_TAG: &str = "host";
/// Tag by which a guest mounts the folder of its logs, to write to it.
pub(crate) const OUT_TAG: &str = "out";
/// The error records of the firmware, in the folder of the logs.
const ERROR_RECORDS: &str = "erst";
/// The captured network traffic, in the same folder.
pub(crate) const CAPTURE: &str = "network.pcap";

/// The host's root folder, read-only.
pub(super) fn host() -> [String; 4] {
    [
        "-fsdev",
        "local,id=host,path=/,security_model=none,multidevs=remap,readonly=on",
        "-device",
        &format!("virtio-9p-pci,bus=pcie.0,addr={SHARE:#x},fsdev=host,mount_tag={HOST_TAG}"),
    ]
    .map(str::to_owned)
}

/// The folder of the logs, writable.
pub(super) fn out(log: &Path) -> [String; 4] {
    [
        "-fsdev",
        &format!("local,id=out,path={},security_model=none", option(log)),
        "-device",
        &format!("virtio-9p-pci,bus=pcie.0,addr={OUT:#x},fsdev=out,mount_tag={OUT_TAG}"),
    ]
    .map(str::to_owned)
}

/// Error records of the firmware, and a network card whose traffic is captured.
pub(super) fn crash_sinks(log: &Path) -> [String; 10] {
    let file = |name: &str| option(&log.join(name));
    let (records, capture) = (file(ERROR_RECORDS), file(CAPTURE));
    [
        "-object",
        &format!("memory-backend-file,id=erst,size=256K,share=on,mem-path={records}"),
        "-device",
        "acpi-erst,memdev=erst",
        "-netdev",
        "user,id=net,restrict=on",
        "-device",
        &format!("e1000,netdev=net,bus=pcie.0,addr={NETWORK:#x},romfile="),
        "-object",
        &format!("filter-dump,id=capture,netdev=net,file={capture}"),
    ]
    .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_go_to_the_log_folder() {
        let log = Path::new("/l,m");
        let share = out(log).join(" ");
        assert!(
            share.starts_with("-fsdev local,id=out,path=/l,,m,security_model=none -device virtio-9p-pci,"),
            "{share}"
        );
        let crash_sinks = crash_sinks(log).join(" ");
        for wanted in [
            "size=256K,share=on,mem-path=/l,,m/erst -device acpi-erst,memdev=erst",
            "filter-dump,id=capture,netdev=net,file=/l,,m/network.pcap",
        ] {
            assert!(crash_sinks.contains(wanted), "{crash_sinks}");
        }
    }
}
