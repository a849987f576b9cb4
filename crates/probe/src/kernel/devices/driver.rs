//! The driver bound to a device.

use std::{fs, path::Path};

use p2p_trace_model::{event::DeviceAddress, text::Text};

use super::pci_devices;
use crate::kernel::KernelRoot;

/// A bound driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The name: `vfio-pci`.
    pub name: Text,
    /// The module, as it appears in symbol names: `vfio_pci`. `None` if the driver is built in.
    pub module: Option<Text>,
}

impl Driver {
    /// The driver that is bound to a device now.
    pub fn read(root: &KernelRoot, device: DeviceAddress) -> Option<Self> {
        let link = pci_devices(root).join(device.to_string()).join("driver");
        Some(Self { name: target_name(&link)?, module: target_name(&link.join("module")) })
    }
}

/// Whether sysfs has a device with this address.
pub fn exists(root: &KernelRoot, device: DeviceAddress) -> bool {
    pci_devices(root).join(device.to_string()).exists()
}

/// The last component of a link's target.
pub(super) fn target_name(link: &Path) -> Option<Text> {
    let target = fs::read_link(link).ok()?;
    Some(Path::new(target.file_name()?).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn reads_name_and_module_of_a_driver() {
        let folder = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(folder.path());
        crate::testing::sysfs::plant(&root);
        let device = "0000:03:00.0".parse().unwrap();
        let built_in = Driver { name: "nvme".into(), module: None };
        assert_eq!(Driver::read(&root, device), Some(built_in));
        symlink("../../../../module/nvme", root.sys.join("bus/pci/drivers/nvme/module")).unwrap();
        let driver = Driver::read(&root, device).unwrap();
        assert_eq!(driver.module.as_deref(), Some("nvme"));
        let unbound = "0000:04:00.0".parse().unwrap();
        assert_eq!((Driver::read(&root, unbound), exists(&root, unbound)), (None, true));
        assert!(!exists(&root, "0000:05:00.0".parse().unwrap()));
    }
}
