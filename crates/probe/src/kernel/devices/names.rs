//! Resolves the name of a device to its PCI address.

use std::fs;
use std::path::{Path, PathBuf};

use p2p_trace_model::{
    event::{AddressError, DeviceAddress},
    text::Text,
};

use super::file_names;
use crate::kernel::root::KernelRoot;

/// A device name that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text looks like an address, but is not valid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is no device with this name.
    #[error(
        "no device is called {name:?}: use a PCI address such as 0000:01:00.0, or a name from /sys/class such as nvme0"
    )]
    NoName {
        /// The given name.
        name: Text,
    },
    /// The device is not on a PCI bus.
    #[error("{name} is not a PCI device: use a PCI address such as 0000:01:00.0")]
    NotPci {
        /// The given name.
        name: Text,
    },
    /// The name stands for several devices.
    #[error(
        "{name} is ambiguous, it belongs to several devices ({}): use one of these addresses",
        list(candidates)
    )]
    Ambiguous {
        /// The given name.
        name: Text,
        /// The devices.
        candidates: Vec<DeviceAddress>,
    },
}

fn list(addresses: &[DeviceAddress]) -> String {
    let texts: Vec<_> = addresses.iter().map(DeviceAddress::to_string).collect();
    texts.join(", ")
}

/// Resolves an address, or a name in any class of sysfs: `nvme0`, `nvme0n1`, `eth0`.
///
/// A valid address is returned as is: the device need not exist yet.
///
/// # Errors
///
/// [`DeviceError`] if the text is neither an address nor a name, or does not name exactly one PCI device.
pub fn resolve(root: &KernelRoot, text: &str) -> Result<DeviceAddress, DeviceError> {
    match text.parse() {
        Ok(address) => return Ok(address),
        Err(error) if text.contains(':') => return Err(error.into()),
        Err(_) => {}
    }
    let no_name = || DeviceError::NoName { name: text.into() };
    let path = find(root, text).ok_or_else(no_name)?;
    let mut candidates = match innermost_address(&path) {
        Some(address) => vec![address],
        None => controllers(&path),
    };
    candidates.sort();
    candidates.dedup();
    match candidates[..] {
        [] => Err(DeviceError::NotPci { name: text.into() }),
        [address] => Ok(address),
        _ => Err(DeviceError::Ambiguous { name: text.into(), candidates }),
    }
}

/// The folder in `/sys/devices` of the class device with this name.
fn find(root: &KernelRoot, name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return None;
    }
    let classes = root.sys.join("class");
    file_names(&classes).iter().find_map(|class| fs::canonicalize(classes.join(class).join(name)).ok())
}

/// The PCI function closest to the device; bridges come earlier in the path.
fn innermost_address(path: &Path) -> Option<DeviceAddress> {
    path.iter().rev().find_map(|component| component.to_str()?.parse().ok())
}

/// The controllers of a multipath disk: its subsystem, which is not a PCI device, links to them.
fn controllers(disk: &Path) -> Vec<DeviceAddress> {
    let Some(subsystem) = disk.ancestors().find(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("nvme-subsys") && name != "nvme-subsystem")
    }) else {
        return Vec::new();
    };
    file_names(subsystem)
        .iter()
        .filter_map(|name| innermost_address(&fs::canonicalize(subsystem.join(name)).ok()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_addresses_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        crate::testing::sysfs::plant(&root);
        let resolved = |text| resolve(&root, text).map(|address| address.to_string());
        assert_eq!(resolved("09:00.1").unwrap(), "0000:09:00.1");
        assert_eq!(resolved("pci/0000:09:00.1").unwrap(), "0000:09:00.1");
        assert_eq!(resolved("nvme0").unwrap(), "0000:03:00.0");
        assert_eq!(resolved("nvme0n1").unwrap(), "0000:03:00.0");
        assert_eq!(resolved("nvme1").unwrap(), "0000:04:00.0");
        assert_eq!(resolved("nvme8n1").unwrap(), "0000:04:00.0");
        let errors = ["nvme7n1", "lo", "nvme9", "", "../nvme", "01:00", "01:00.9"];
        insta::assert_snapshot!(errors.map(|text| resolved(text).unwrap_err().to_string()).join("\n"), @r#"
        nvme7n1 is ambiguous, it belongs to several devices (0000:03:00.0, 0000:04:00.0): use one of these addresses
        lo is not a PCI device: use a PCI address such as 0000:01:00.0
        no device is called "nvme9": use a PCI address such as 0000:01:00.0, or a name from /sys/class such as nvme0
        no device is called "": use a PCI address such as 0000:01:00.0, or a name from /sys/class such as nvme0
        no device is called "../nvme": use a PCI address such as 0000:01:00.0, or a name from /sys/class such as nvme0
        "01:00" is not a PCI address: the function (after a dot) is missing; write it as 0000:01:00.0 or 01:00.0
        "01:00.9" is not a PCI address: the function is not a digit up to 7; write it as 0000:01:00.0 or 01:00.0
        "#);
    }
}
