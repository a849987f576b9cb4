//! A stock kernel of Debian, downloaded and unpacked without being installed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{GuestKernel, Headers};
use crate::host::apt::{Description, Suite};
use crate::host::{cache, command, packages};

/// What the tests call it.
pub(super) const LABEL: &str = "7.3";

/// The suite, and the release that everything was measured on.
const SUITE: &str = "trixie-backports";
const RELEASE: &str = "7.3.4+deb13-amd64";
/// The suites of its headers, and of the compiler that they ask for.
const HEADERS: Headers = Headers::Debian { suites: &["trixie", SUITE] };

/// The first version that Debian builds with `CONFIG_PCI_P2PDMA=y`.
const FIRST: [u32; 2] = [6, 16];

const PREFIX: &str = "linux-image-";

/// Gets [`RELEASE`], or the newest suitable release where that is gone.
pub(super) fn find() -> Result<GuestKernel> {
    let wanted = cache::root()?.join(key(RELEASE));
    if wanted.is_dir() {
        return describe(&wanted, RELEASE);
    }
    packages::ensure(&packages::KERNELS)?;
    let suite = Suite::open(SUITE)?;
    let release = if suite.versions(&format!("{PREFIX}{RELEASE}"))?.is_empty() {
        let newest = newest_release(&suite.names(PREFIX)?)
            .with_context(|| format!("Debian's {SUITE} has no kernel with P2PDMA"))?;
        println!("Debian's {SUITE} does not have {RELEASE} any more; taking {newest}.");
        newest
    } else {
        RELEASE.to_owned()
    };
    let tree = cache::entry(&key(&release), |work| unpack(&suite, &release, work))?;
    describe(&tree, &release)
}

fn key(release: &str) -> String {
    format!("kernel-{release}")
}

/// Finds the image and the configuration in an unpacked tree; where they lie changed over the years.
fn describe(tree: &Path, release: &str) -> Result<GuestKernel> {
    let modules = tree.join("lib/modules").join(release);
    let find = |old: &str, new: &str| -> Option<PathBuf> {
        [modules.join(new), tree.join("boot").join(format!("{old}-{release}"))]
            .into_iter()
            .find(|file| file.is_file())
    };
    let image =
        find("vmlinuz", "vmlinuz").with_context(|| format!("no kernel image in {}", tree.display()))?;
    GuestKernel::new(LABEL, release, image, tree.to_path_buf(), find("config", "config"))
        .map(|kernel| kernel.with_headers(HEADERS))
}

/// Downloads the packages of the release and makes one tree of them.
fn unpack(suite: &Suite, release: &str, tree: &Path) -> Result<()> {
    let parts = parts(suite, release)?;
    let bytes = parts.values().map(|part| part.size).sum();
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    println!(
        "Downloading from Debian's {}: {} ({})",
        suite.name(),
        names.join(" "),
        packages::megabytes(bytes)
    );
    let downloads = tempfile::tempdir()?;
    for (name, part) in &parts {
        let file = suite.download(name, &part.version, downloads.path())?;
        command::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(tree), &format!("unpacking {name}"))?;
    }
    // On a merged /usr the packages hold usr/lib only; modprobe and depmod look in lib.
    if !tree.join("lib").exists() {
        symlink("usr/lib", tree.join("lib"))?;
    }
    if !tree.join("lib/modules").join(release).join("kernel").is_dir() {
        bail!("the packages {} hold no modules of {release}", names.join(", "));
    }
    command::run(Command::new("depmod").arg("-b").arg(tree).arg(release), "indexing the modules")
}

/// The image's package and those of the same release that it depends on: it may be an empty one that names the others.
fn parts(suite: &Suite, release: &str) -> Result<BTreeMap<String, Description>> {
    let mut parts = BTreeMap::new();
    let mut wanted = BTreeSet::from([format!("{PREFIX}{release}")]);
    while let Some(name) = wanted.pop_first() {
        let part = suite.describe(&name)?;
        wanted.extend(
            same_release(&part.depends, release).filter(|other| *other != name && !parts.contains_key(other)),
        );
        parts.insert(name, part);
    }
    Ok(parts)
}

/// The packages among a `Depends` field that belong to the release.
fn same_release(depends: &str, release: &str) -> impl Iterator<Item = String> {
    depends
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .filter(move |name| name.ends_with(&format!("-{release}")))
        .map(ToOwned::to_owned)
}

/// The newest release among names of image packages that has P2PDMA: of the plain flavour, not cloud, rt or unsigned.
fn newest_release(names: &[String]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|release| release.ends_with("-amd64"))
        .filter(|release| !["-cloud-", "-rt-"].iter().any(|flavour| release.contains(flavour)))
        .filter_map(|release| Some((version_of(release)?, release)))
        .filter(|(version, _)| version.as_slice() >= FIRST.as_slice())
        .max()
        .map(|(_, release)| release.to_owned())
}

/// The numbers that a release begins with: 7.3.4 of `7.3.4+deb13-amd64`. None for the names of metapackages.
pub(crate) fn version_of(release: &str) -> Option<Vec<u32>> {
    let end = release.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    release[..end].split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_release_is_chosen() {
        let names = [
            "linux-image-amd64",
            "linux-image-6.12.107+deb13-amd64",
            "linux-image-7.3.4+deb13-amd64",
            "linux-image-7.3.10+deb13-amd64",
            "linux-image-7.4.1+deb13-cloud-amd64",
            "linux-image-7.4.1+deb13-rt-amd64",
            "linux-image-7.4.1+deb13-amd64-unsigned",
        ]
        .map(ToOwned::to_owned);
        assert_eq!(newest_release(&names).as_deref(), Some("7.3.10+deb13-amd64"));
        assert_eq!(newest_release(&names[..2]), None);
    }

    #[test]
    fn dependencies_of_the_same_release_are_followed() {
        let depends = "dracut | initramfs-tools (>= 0.120) | linux-initramfs-tool, \
                       linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                       linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), kmod, linux-base (>= 4.3)";
        let found: Vec<String> = same_release(depends, "7.3.4+deb13-amd64").collect();
        assert_eq!(found, ["linux-base-7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-amd64"]);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version_of("7.3.4+deb13-amd64"), Some(vec![7, 3, 4]));
        assert_eq!(version_of("6.18-amd64"), Some(vec![6, 18]));
        assert_eq!(version_of("amd64"), None);
    }
}
