//! makedumpfile from Debian's packages, for the crash kernel of a guest: from a release that supports kernels
//! as new as those of the tests. It is unpacked, not installed.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::apt::Suite;
use crate::host::{cache, packages, tree};

/// Its Debian release.
const SUITE: &str = "trixie";
/// Mount points: processes (with the old kernel's memory), devices, the target of the dumps, and
/// makedumpfile's own temporary files.
const MOUNTS: [&str; 5] = ["proc", "dev", "sys", "mnt", "tmp"];

/// The folder of its tree in the cache.
///
/// # Errors
///
/// The packages are not available or cannot be unpacked.
pub(crate) fn tree() -> Result<PathBuf> {
    packages::ensure(&packages::TREE)?;
    cache::entry(&format!("makedumpfile-{SUITE}"), |work| {
        let suite = Suite::open(SUITE)?;
        let purpose = "to filter and compress a dump as kdump does";
        tree::unpack(&suite, &["makedumpfile"], purpose, &MOUNTS, work)
    })
}
