//! A stock kernel of Debian, downloaded and unpacked without being installed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{GuestKernel, Headers};
use crate::host::apt::{Description, Suite};
use crate::host::{cache, command, packages};

/// A kernel release of Debian.
#[derive(Debug)]
pub(super) struct Stock {
    /// Its label in the tests.
    pub(super) label: &'static str,
    suite: &'static str,
    release: &'static str,
    /// The headers for its modules: the suites of the headers, and of the compiler that they depend on.
    headers: Headers,
    /// Whether another release can replace it if it is no longer available.
    replaceable: bool,
}

/// The release of all measurements.
pub(super) const MEASURED: Stock = Stock {
    label: "7.3",
    suite: "trixie-backports",
    release: "7.3.4+deb13-amd64",
    headers: Headers::Debian { suites: &["trixie", "trixie-backports"] },
    replaceable: true,
};

/// The previous release, as long as Debian's unstable has it.
pub(super) const BEFORE: Stock = Stock {
    label: "7.2",
    suite: "unstable",
    release: "7.2.13+deb14-amd64",
    headers: Headers::Debian { suites: &["unstable"] },
    replaceable: false,
};

/// The first version that Debian builds with `CONFIG_PCI_P2PDMA=y`.
const FIRST: [u32; 2] = [6, 16];

const PREFIX: &str = "linux-image-";

/// Gets the release, or the newest suitable one if it is gone and replaceable.
pub(super) fn find(stock: &Stock) -> Result<GuestKernel> {
    let Stock { suite, release: wanted, .. } = *stock;
    let tree = cache::root()?.join(key(wanted));
    if tree.is_dir() {
        return describe(stock, &tree, wanted);
    }
    packages::ensure(&packages::KERNELS)?;
    let suite = Suite::open(suite)?;
    let release = if !suite.versions(&format!("{PREFIX}{wanted}"))?.is_empty() {
        wanted.to_owned()
    } else if stock.replaceable {
        let newest = newest_release(&suite.names(PREFIX)?)
            .with_context(|| format!("Debian's {} has no kernel with P2PDMA", suite.name()))?;
        println!("Debian's {} no longer has {wanted}; using {newest}.", suite.name());
        newest
    } else {
        bail!("Debian's {} no longer has {wanted}", suite.name());
    };
    let tree = cache::entry(&key(&release), |work| unpack(&suite, &release, work))?;
    describe(stock, &tree, &release)
}

fn key(release: &str) -> String {
    format!("kernel-{release}")
}

/// Finds the image and the configuration in an unpacked tree; their paths have changed over the years.
fn describe(stock: &Stock, tree: &Path, release: &str) -> Result<GuestKernel> {
    let modules = tree.join("lib/modules").join(release);
    let find = |old: &str, new: &str| -> Option<PathBuf> {
        [modules.join(new), tree.join("boot").join(format!("{old}-{release}"))]
            .into_iter()
            .find(|file| file.is_file())
    };
    let image =
        find("vmlinuz", "vmlinuz").with_context(|| format!("no kernel image in {}", tree.display()))?;
    GuestKernel::new(stock.label, release, image, tree.to_path_buf(), find("config", "config"))
        .map(|kernel| kernel.with_headers(stock.headers.clone()))
}

/// Downloads the packages of the release and unpacks them into one tree.
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
    // On a merged /usr the packages have only usr/lib; modprobe and depmod use lib.
    if !tree.join("lib").exists() {
        symlink("usr/lib", tree.join("lib"))?;
    }
    if !tree.join("lib/modules").join(release).join("kernel").is_dir() {
        bail!("the packages {} have no modules of {release}", names.join(", "));
    }
    command::run(Command::new("depmod").arg("-b").arg(tree).arg(release), "indexing the modules")
}

/// The image's package and its dependencies of the same release: it may be an empty package that depends on
/// the others.
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

/// The packages in a `Depends` field that belong to the release.
fn same_release(depends: &str, release: &str) -> impl Iterator<Item = String> {
    depends
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .filter(move |name| name.ends_with(&format!("-{release}")))
        .map(ToOwned::to_owned)
}

/// The newest release with P2PDMA among the names of image packages: the plain flavor, not cloud, rt or
/// unsigned.
fn newest_release(names: &[String]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|release| release.ends_with("-amd64"))
        .filter(|release| !["-cloud-", "-rt-"].iter().any(|flavor| release.contains(flavor)))
        .filter_map(|release| Some((version_of(release)?, release)))
        .filter(|(version, _)| version.as_slice() >= FIRST.as_slice())
        .max()
        .map(|(_, release)| release.to_owned())
}

/// The numbers at the beginning of a release: 7.3.4 of `7.3.4+deb13-amd64`. `None` for the names of
/// metapackages.
pub(crate) fn version_of(release: &str) -> Option<Vec<u32>> {
    let end = release.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    release[..end].split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_the_newest_plain_release() {
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
    fn follows_dependencies_of_the_same_release() {
        let depends = "dracut | initramfs-tools (>= 0.120) | linux-initramfs-tool, \
                       linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                       linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), kmod, linux-base (>= 4.3)";
        let found: Vec<String> = same_release(depends, "7.3.4+deb13-amd64").collect();
        assert_eq!(found, ["linux-base-7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-amd64"]);
    }

    #[test]
    fn parses_versions_as_numbers() {
        assert_eq!(version_of("7.3.4+deb13-amd64"), Some(vec![7, 3, 4]));
        assert_eq!(version_of("6.18-amd64"), Some(vec![6, 18]));
        assert_eq!(version_of("amd64"), None);
    }
}
