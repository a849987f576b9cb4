//! System packages: the needs of each step, missing ones, and their installation.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::command;

/// The packages of one step.
#[derive(Debug)]
pub(crate) struct Need {
    /// The step, as it completes "needed to …".
    pub(crate) step: &'static str,
    /// Its packages.
    pub(crate) packages: &'static [Package],
}

/// A Debian or Ubuntu package, and the program that can replace it.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name in Debian and Ubuntu.
    name: &'static str,
    /// A program of it, if it has one.
    program: Option<&'static str>,
    /// Whether any build of that program is sufficient. False if the package's own build matters.
    any_build: bool,
}

/// Any build of `program` is sufficient.
const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, program: Some(program), any_build: true }
}

/// Only the package itself is sufficient, on systems with dpkg.
const fn package(name: &'static str, program: Option<&'static str>) -> Package {
    Package { name, program, any_build: false }
}

/// For building bpf-linker and stripping the objects.
pub(crate) const BPF: Need = Need {
    step: "build the kernel side",
    packages: &[
        package("llvm-22-dev", None),
        package("libpolly-22-dev", None),
        package("libzstd-dev", None),
        package("zlib1g-dev", None),
        program("g++", "g++"),
    ],
};

/// For building libFuzzer.
pub(crate) const FUZZ: Need = Need { step: "build the fuzz targets", packages: &[program("g++", "g++")] };

/// For fetching and unpacking the kernels of the guests.
pub(crate) const KERNELS: Need = Need {
    step: "unpack kernels for the guest",
    packages: &[program("kmod", "depmod"), program("xz-utils", "xz"), program("tar", "tar")],
};

/// For downloading packages of another Debian release.
pub(crate) const DEBIAN_ARCHIVE: Need = Need {
    step: "download from another Debian release",
    packages: &[
        program("apt", "apt-get"),
        program("dpkg", "dpkg-deb"),
        package("debian-archive-keyring", None),
        program("gpgv", "gpgv"),
    ],
};

/// For booting a guest.
pub(crate) const GUEST: Need = Need {
    step: "boot the guest",
    packages: &[
        program("qemu-system-x86", "qemu-system-x86_64"),
        // The package's busybox is static; another build may not be.
        package("busybox-static", Some("busybox")),
        program("cpio", "cpio"),
        program("kmod", "modprobe"),
        program("xz-utils", "xz"),
    ],
};

/// For a guest's disk that is read after the guest has exited.
pub(crate) const DISK: Need =
    Need { step: "make a disk for the guest and read it", packages: &[program("e2fsprogs", "mkfs.ext4")] };

/// For building a kernel module with the host's own compiler.
pub(crate) const MODULE: Need = Need {
    step: "build a kernel module for the guest",
    packages: &[
        program("gcc", "gcc"),
        program("make", "make"),
        program("binutils", "strip"),
        program("xz-utils", "xz"),
        program("tar", "tar"),
        // The kernel's objtool links against this library, whose package has other names in other
        // distributions.
        package("libelf-dev", None),
    ],
};

/// For building a kernel module in an unpacked tree of another Debian release.
pub(crate) const TREE: Need = Need {
    step: "build a kernel module with the compiler of another Debian release",
    packages: &[program("util-linux", "unshare")],
};

/// For showing reports in a real browser.
pub(crate) const BROWSER: Need =
    Need { step: "show a report in a browser", packages: &[program("chromium", BROWSER_PROGRAM)] };
/// The browser.
pub(crate) const BROWSER_PROGRAM: &str = "chromium";

/// Makes sure that all packages of `need` are installed; installs missing ones, as root or through sudo.
///
/// # Errors
/// A package is missing and this is not Debian or Ubuntu, or the user may not install it, or apt fails. The
/// error names the packages and the command to run manually.
pub(crate) fn ensure(need: &Need) -> Result<()> {
    let missing: Vec<&str> =
        need.packages.iter().filter(|one| !is_satisfied(one)).map(|one| one.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Needed to {}: {}", need.step, missing.join(" "));
    if !command::exists("apt-get") {
        bail!(
            "apt-get is not available: install your distribution's equivalent of {} and try again (needed to {})",
            missing.join(", "),
            need.step
        );
    }
    install(&missing).with_context(|| {
        format!(
            "to install them manually, run as root: apt-get install --no-install-recommends {}",
            missing.join(" ")
        )
    })
}

/// Updates apt's lists, as root or through sudo.
///
/// # Errors
/// The user may not do it, or apt fails.
pub(crate) fn update_lists() -> Result<()> {
    command::run(&mut apt_as_root(&["update"])?, "apt-get update")
}

fn is_satisfied(package: &Package) -> bool {
    let has_program = package.program.is_some_and(command::exists);
    if !command::exists("dpkg-query") {
        return has_program;
    }
    (package.any_build && has_program) || is_installed(package.name)
}

/// Whether dpkg has the package unpacked and configured.
fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status}\n", package]);
    command::probe(&mut query).is_some_and(|answer| answer.lines().any(|status| status == "installed"))
}

fn install(packages: &[&str]) -> Result<()> {
    update_lists()?;
    let mut plan = Command::new("apt-get");
    plan.args(["install", "--yes", "--no-install-recommends", "--print-uris", "-qq"]).args(packages);
    let uris = command::read(&mut plan, "planning the installation")?;
    println!("Installing with apt-get: {}", planned(&uris));
    let options = ["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"];
    command::run(&mut apt_as_root(&[&options, packages].concat())?, "apt-get install")
}

/// An apt-get with these arguments that runs as root.
fn apt_as_root(arguments: &[&str]) -> Result<Command> {
    let environment = "DEBIAN_FRONTEND=noninteractive";
    let root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let mut command = if root {
        Command::new("env")
    } else if command::exists("sudo") {
        println!("(through sudo, which may ask for your password)");
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    } else {
        bail!("this needs root, and sudo is not installed");
    };
    command.arg(environment).arg("apt-get").args(arguments);
    Ok(command)
}

/// The packages of `apt-get --print-uris` and their size: `cpio kmod (1.2 MB to download)`.
pub(super) fn planned(uris: &str) -> String {
    let rows = || uris.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let names: Vec<String> = rows()
        .filter_map(|row| row.get(1).map(|file| file.split('_').next().unwrap_or_default().to_owned()))
        .collect();
    let bytes: u64 = rows().filter_map(|row| row.get(2)?.parse::<u64>().ok()).sum();
    format!("{} ({} to download)", names.join(" "), megabytes(bytes))
}

/// Bytes as megabytes with one decimal.
pub(crate) fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_has_packages_and_size() {
        let uris = "'http://mirror/pool/c/cpio_2.13_amd64.deb' cpio_2.13+dfsg-7.1_amd64.deb 245000 MD5Sum:0\n\
                    'http://mirror/pool/k/kmod_30_amd64.deb' kmod_30_amd64.deb 95200 MD5Sum:0\n";
        assert_eq!(planned(uris), "cpio kmod (0.4 MB to download)");
        assert_eq!(planned(""), " (0.0 MB to download)");
    }

    #[test]
    fn unknown_package_is_not_installed() {
        assert!(!is_installed("no-such-package-name"));
    }

    #[test]
    fn accepts_any_build_of_a_program() {
        assert!(is_satisfied(&program("no-such-package-name", "sh")));
        assert!(!is_satisfied(&program("no-such-package-name", "no-such-program")));
    }
}
