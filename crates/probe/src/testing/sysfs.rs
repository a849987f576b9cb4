//! A `/sys` laid out in a folder.

use std::{fs, os::unix::fs::symlink};

use crate::kernel::KernelRoot;

/// Two disks, `nvme0` with a controller memory buffer, and multipath disks on top of them, laid out like a guest's sysfs.
pub fn plant(root: &KernelRoot) {
    let make = |path: &str| fs::create_dir_all(root.sys.join(path)).unwrap();
    let write = |path: &str, text: &str| fs::write(root.sys.join(path), text).unwrap();
    let link = |target: &str, path: &str| symlink(target, root.sys.join(path)).unwrap();
    let bridge = "devices/pci0000:00/0000:00:1c.0";
    for (bdf, nvme) in [("0000:03:00.0", "nvme0"), ("0000:04:00.0", "nvme1")] {
        make(&format!("{bridge}/{bdf}/nvme/{nvme}/{nvme}n1"));
    }
    make(&format!("{bridge}/0000:03:00.0/p2pmem"));
    for (file, text) in [("size", "67108864\n"), ("available", "66977792\n"), ("published", "1\n")] {
        write(&format!("{bridge}/0000:03:00.0/p2pmem/{file}"), text);
    }
    fs::create_dir_all(root.proc.join("sys/kernel")).unwrap();
    fs::write(root.proc.join("sys/kernel/osrelease"), "7.3.4\n").unwrap();
    for folder in ["bus/pci/devices", "bus/pci/drivers/nvme", "class/nvme", "class/block", "class/net"] {
        make(folder);
    }
    link("../../../../bus/pci/drivers/nvme", &format!("{bridge}/0000:03:00.0/driver"));
    for bdf in ["0000:03:00.0", "0000:04:00.0"] {
        link(&format!("../../../{bridge}/{bdf}"), &format!("bus/pci/devices/{bdf}"));
    }
    link(&format!("../../{bridge}/0000:03:00.0/nvme/nvme0"), "class/nvme/nvme0");
    link(&format!("../../{bridge}/0000:04:00.0/nvme/nvme1"), "class/nvme/nvme1");
    link(&format!("../../{bridge}/0000:03:00.0/nvme/nvme0/nvme0n1"), "class/block/nvme0n1");
    // A disk of a subsystem with two paths, one with one path, and a device that is not on a PCI bus.
    for (subsystem, disk, paths) in [("0", "nvme7n1", &["nvme0", "nvme1"][..]), ("1", "nvme8n1", &["nvme1"])]
    {
        let folder = format!("devices/virtual/nvme-subsystem/nvme-subsys{subsystem}");
        make(&format!("{folder}/{disk}"));
        link(&format!("../../{folder}/{disk}"), &format!("class/block/{disk}"));
        for path in paths {
            let bdf = if *path == "nvme0" { "0000:03:00.0" } else { "0000:04:00.0" };
            link(&format!("../../../../{bridge}/{bdf}/nvme/{path}"), &format!("{folder}/{path}"));
        }
    }
    make("devices/virtual/net/lo");
    link("../../devices/virtual/net/lo", "class/net/lo");
}
