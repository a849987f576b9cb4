//! The folder of a guest's sockets and root file system, which is removed with the guest.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Prefix of the folders' names; the task's process id follows.
const PREFIX: &str = "p2p-trace-guest-";

/// Creates a folder, after removing those of killed tasks, which could not do so themselves.
pub(super) fn create() -> Result<TempDir> {
    let parent = std::env::temp_dir();
    sweep(&parent);
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(&parent)
        .with_context(|| format!("cannot create a folder in {}", parent.display()))
}

/// Removes the folders of processes that have exited. Other files stay.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(|pid| !is_running(pid)) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// The process that a folder belongs to.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_only_folders_of_exited_processes() {
        let parent = tempfile::tempdir().unwrap();
        let own = format!("{PREFIX}{}-a", std::process::id());
        // Larger than any process id.
        let dead = format!("{PREFIX}{}-b", u32::MAX);
        for name in [own.as_str(), dead.as_str(), "other"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        sweep(parent.path());
        let left = [own.as_str(), dead.as_str(), "other"].map(|name| parent.path().join(name).exists());
        assert_eq!(left, [true, false, true]);
    }
}
