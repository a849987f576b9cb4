//! The host's own kernel, if a guest can run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{GuestKernel, HOST};
use crate::host::command;

/// Options that a guest's kernel needs for p2p memory.
const NEEDED: [&str; 2] = ["CONFIG_PCI_P2PDMA", "CONFIG_BLK_DEV_NVME"];

/// Finds the running kernel's image and modules.
pub(super) fn find() -> Result<GuestKernel> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot determine the running kernel")?;
    let release = release.trim();
    let modules = Path::new("/lib/modules").join(release);
    let boot = |name: &str| Path::new("/boot").join(format!("{name}-{release}"));

    let file = first_file([boot("config"), modules.join("config")]);
    let config = match &file {
        Some(file) => fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => command::probe(Command::new("zcat").arg("/proc/config.gz"))
            .with_context(|| format!("cannot find the configuration of {release}"))?,
    };
    if let Some(option) = NEEDED.into_iter().find(|option| !is_on(&config, option)) {
        bail!("{release} is built without {option}");
    }
    let image = first_file([boot("vmlinuz"), modules.join("vmlinuz")])
        .with_context(|| format!("no image of {release} in /boot"))?;
    GuestKernel::new(HOST, release, image, PathBuf::from("/"), file)
}

fn first_file(candidates: [PathBuf; 2]) -> Option<PathBuf> {
    candidates.into_iter().find(|file| file.is_file())
}

/// Whether the option is built in or a module.
fn is_on(config: &str, option: &str) -> bool {
    config.lines().filter_map(|line| line.strip_prefix(option)).any(|value| value == "=y" || value == "=m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_is_on_as_built_in_or_module() {
        let config = "CONFIG_BLK_DEV_NVME=m\n# CONFIG_PCI_P2PDMA is not set\nCONFIG_PCI_P2PDMA_X=y\n";
        assert!(is_on(config, "CONFIG_BLK_DEV_NVME"));
        assert!(!is_on(config, "CONFIG_PCI_P2PDMA"));
        assert!(is_on("CONFIG_PCI_P2PDMA=y\n", "CONFIG_PCI_P2PDMA"));
    }
}
