//! A tree of Debian packages that a module is built in: unpacked, not installed, and entered with chroot.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::host::apt::Suite;
use crate::host::{cache, packages, tree as host_tree};

/// Packages that the tree needs in addition to the headers, which depend on their compiler.
const PACKAGES: [&str; 9] =
    ["base-files", "binutils", "coreutils", "dash", "findutils", "grep", "make", "mawk", "sed"];
/// Mount points: processes, devices, and the build folder.
const MOUNTS: [&str; 3] = ["proc", "dev", "mnt"];
/// Mounts and enters: the tree, the folder to build in, then the command. The build's tools read `/proc/self`
/// (objtool) and write to `/dev/null`. The mounts disappear with the namespace.
const ENTER: &str = r#"
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
tree=$1
shift 2
exec chroot "$tree" /usr/bin/env -i PATH=/usr/bin:/usr/sbin LC_ALL=C "$@"
"#;

/// An unpacked tree.
#[derive(Debug)]
pub(super) struct Tree(PathBuf);

/// The tree for modules of a release, in the cache.
///
/// # Errors
///
/// The packages are not available or cannot be unpacked.
pub(super) fn open(suites: &[&str], release: &str) -> Result<Tree> {
    packages::ensure(&packages::TREE)?;
    let tree = cache::entry(&format!("build-{release}"), |work| unpack(suites, release, work))?;
    Ok(Tree(tree))
}

/// The folder of the headers, in the tree.
pub(super) fn headers(release: &str) -> String {
    format!("/usr/src/linux-headers-{release}")
}

fn unpack(suites: &[&str], release: &str, tree: &Path) -> Result<()> {
    let suite = Suite::open_all(suites)?;
    let headers_package = format!("linux-headers-{release}");
    let mut wanted = PACKAGES.to_vec();
    wanted.push(&headers_package);
    let purpose = format!("to build modules for Linux {release}");
    host_tree::unpack(&suite, &wanted, &purpose, &MOUNTS, tree)?;
    // Normally the system's administrator chooses this link.
    host_tree::make_link(&tree.join("usr/bin/awk"), "mawk")?;
    let makefile = format!("{}/Makefile", headers(release));
    ensure!(
        tree.join(makefile.trim_start_matches('/')).is_file(),
        "the package {headers_package} has no {makefile}"
    );
    Ok(())
}

impl Tree {
    /// A command in the tree, which sees `folder` as `/mnt`.
    pub(super) fn enter(&self, folder: &Path, program: &str) -> Command {
        let mut command = Command::new("unshare");
        let root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
        if !root {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]);
        command.arg(&self.0).arg(folder).arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_tree_and_folder_before_the_command() {
        let command = Tree(PathBuf::from("/t")).enter(Path::new("/f"), "make");
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert!(words.ends_with(&["sh", "/t", "/f", "make"].map(str::to_owned)), "{words:?}");
    }
}
