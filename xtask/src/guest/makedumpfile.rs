//! makedumpfile, out of Debian's packages, for the crash kernel of a guest: the one of a release that knows kernels as new as those
//! of the tests. It is unpacked, not installed.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::apt::Suite;
use crate::host::{cache, packages, tree};

/// Where it comes from.
const SUITE: &str = "trixie";
/// Folders to mount in: processes (with the old kernel's memory), devices, where the dumps go, and files that it needs for itself.
const MOUNTS: [&str; 5] = ["proc", "dev", "sys", "mnt", "tmp"];

/// The folder of the tree that it lies in, in the cache.
///
/// # Errors
///
/// The packages cannot be had or unpacked.
pub(crate) fn tree() -> Result<PathBuf> {
    packages::ensure(&packages::TREE)?;
    cache::entry(&format!("makedumpfile-{SUITE}"), |work| {
        let suite = Suite::open(SUITE)?;
        let purpose = "to filter and compress a dump as kdump does";
        tree::unpack(&suite, &["makedumpfile"], purpose, &MOUNTS, work)
    })
}
