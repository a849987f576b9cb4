//! PCI devices in sysfs: which ones provide peer-to-peer memory, and their names.

#![forbid(unsafe_code)]

mod driver;
mod names;

use std::{fs, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use driver::{Driver, exists};
pub use names::{DeviceError, resolve};

use p2p_trace_model::{
    event::{DeviceAddress, names as event_names},
    text::Text,
};

use super::{
    release::Release,
    root::{KernelRoot, read_number, read_text},
};

/// Classes whose members name a PCI device, in order of preference.
const CLASSES: [&str; 6] = ["nvme", "net", "infiniband", "drm", "accel", "vfio-dev"];

/// A device that provides peer-to-peer memory, as its `p2pmem` folder in sysfs describes it.
///
/// The kernel counts killed and even removed ranges as available until it releases the complete pool, so these numbers mean
/// nothing during a teardown. They are absent on kernels where reading them is not safe (before Linux 5.15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct P2pDevice {
    /// The address.
    #[serde(rename = "device", with = "event_names::handle")]
    #[schemars(with = "event_names::Bdf")]
    pub address: DeviceAddress,
    /// Names of the device in sysfs, such as `nvme0`.
    pub names: Vec<Text>,
    /// The driver bound to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Text>,
    /// Total size of its ranges in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes that are not allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Whether other drivers may find the memory (`pci_p2pmem_find`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
}

/// The devices that provide peer-to-peer memory now, by address.
///
/// Before ae21f835a5bd (in Linux 5.15 at the latest), `size_show`, `available_show` and `published_show` follow `pci_dev->p2pdma`
/// unchecked, and `pci_p2pdma_release` clears it before it removes their files: a read in between kills the reader, and can
/// crash the kernel (seen on 5.10.223). On those kernels, and if the release is unknown, no numbers are read.
pub fn list(root: &KernelRoot) -> Vec<P2pDevice> {
    let is_safe = Release::read(root).and_then(|release| release.is_at_least(5, 15)) == Some(true);
    let found = addresses(root).into_iter();
    found.map(|address| read_device(root, address, is_safe)).collect()
}

/// The addresses of these devices, in order. Reads no attributes, so it is suitable for polling and during a teardown.
pub fn addresses(root: &KernelRoot) -> Vec<DeviceAddress> {
    let folder = pci_devices(root);
    let mut addresses: Vec<DeviceAddress> = file_names(&folder)
        .iter()
        .filter(|name| folder.join(name).join("p2pmem").is_dir())
        .filter_map(|name| name.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses
}

/// The name of a device, such as `nvme0`, and the driver bound to it. Reads no attributes, so it is suitable for polling and
/// during a teardown.
pub fn identity(root: &KernelRoot, address: DeviceAddress) -> (Option<Text>, Option<Text>) {
    let device = pci_devices(root).join(address.to_string());
    let name = CLASSES.iter().flat_map(|class| file_names(&device.join(class))).next();
    (name.map(Text::from), driver::target_name(&device.join("driver")))
}

fn read_device(root: &KernelRoot, address: DeviceAddress, has_numbers: bool) -> P2pDevice {
    let device = pci_devices(root).join(address.to_string());
    let file = |name: &str| has_numbers.then(|| device.join("p2pmem").join(name));
    P2pDevice {
        address,
        names: CLASSES.iter().flat_map(|class| file_names(&device.join(class))).map(Text::from).collect(),
        driver: driver::target_name(&device.join("driver")),
        size: file("size").and_then(|path| read_number(&path)),
        available: file("available").and_then(|path| read_number(&path)),
        published: file("published").and_then(|path| read_text(&path)).map(|text| text == "1"),
    }
}

fn pci_devices(root: &KernelRoot) -> std::path::PathBuf {
    root.sys.join("bus/pci/devices")
}

/// The names in a folder, sorted; empty if it cannot be read.
fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sysfs::plant;

    #[test]
    fn lists_devices_with_p2p_memory() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        assert!(list(&root).is_empty());
        plant(&root);
        let expected = P2pDevice {
            address: DeviceAddress::from_devfn(0, 3, 0),
            names: vec!["nvme0".into()],
            driver: Some("nvme".into()),
            size: Some(67108864),
            available: Some(66977792),
            published: Some(true),
        };
        assert_eq!(list(&root), [expected]);
        assert_eq!(addresses(&root), [DeviceAddress::from_devfn(0, 3, 0)]);
    }

    #[test]
    fn reads_no_numbers_on_unsafe_kernels() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        plant(&root);
        let release = root.proc.join("sys/kernel/osrelease");
        for (text, is_safe) in [("5.10.223\n", false), ("5.15.0\n", true), ("mine\n", false)] {
            fs::write(&release, text).unwrap();
            let [device] = list(&root).try_into().unwrap();
            assert_eq!(device.names, ["nvme0"]);
            let numbers = [device.size.is_some(), device.available.is_some(), device.published.is_some()];
            assert_eq!(numbers, [is_safe; 3], "{text}");
        }
    }
}
