//! The folder for what is downloaded or built once: each entry is complete or not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What the folder of an entry that is being filled begins with.
const PARTIAL: &str = ".partial-";
/// An entry that is filled for longer than this was given up: its task was killed.
const GIVEN_UP: Duration = Duration::from_hours(24);

/// The cache folder of this user: `$XDG_CACHE_HOME/p2p-trace`, else `~/.cache/p2p-trace`.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path, or the folder cannot be created.
pub(crate) fn root() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("no cache folder: set XDG_CACHE_HOME or HOME to an absolute path")?
        .join("p2p-trace");
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    Ok(root)
}

/// The folder `key` of the cache, filled by `fill` if it is not there yet.
///
/// `fill` works in a folder that is given its name only when it is complete, so that an interrupted run leaves no
/// half-filled entry behind, and two runs at once do not disturb each other.
///
/// # Errors
/// Whatever `fill` returns, or the folder cannot be written.
pub(crate) fn entry(key: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    entry_in(&root()?, key, fill)
}

fn entry_in(root: &Path, key: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = root.join(key);
    if folder.is_dir() {
        return Ok(folder);
    }
    remove_given_up(root)?;
    let temporary = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(root)
        .with_context(|| format!("cannot write to {}", root.display()))?;
    let work = temporary.path().join("entry");
    fs::create_dir(&work)?;
    fill(&work)?;
    match fs::rename(&work, &folder) {
        Ok(()) => Ok(folder),
        // Another run was faster; its entry is as good as ours.
        Err(_) if folder.is_dir() => Ok(folder),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// Removes what killed tasks left behind.
fn remove_given_up(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            continue;
        }
        // One that is gone by now was finished.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.modified()?.elapsed().unwrap_or_default() > GIVEN_UP {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use anyhow::bail;

    use super::*;

    #[test]
    fn an_entry_is_filled_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = entry_in(root.path(), "a", |work| Ok(fs::write(work.join("file"), "1")?)).unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "1");
        entry_in(root.path(), "a", |_| bail!("filled twice")).unwrap();
    }

    #[test]
    fn a_failed_fill_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let result = entry_in(root.path(), "a", |work| {
            fs::write(work.join("file"), "1")?;
            bail!("interrupted")
        });
        assert!(result.is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
    #[test]
    fn only_old_leftovers_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - GIVEN_UP - Duration::from_secs(1);
        for (name, time) in [(".partial-old", old), (".partial-new", SystemTime::now()), ("entry", old)] {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            File::open(&folder).unwrap().set_modified(time).unwrap();
        }
        remove_given_up(root.path()).unwrap();
        let left = |name: &str| root.path().join(name).exists();
        assert_eq!([left(".partial-old"), left(".partial-new"), left("entry")], [false, true, true]);
    }
}
