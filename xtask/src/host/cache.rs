//! The folder for downloads and builds: each entry is complete or does not exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Prefix of the folder of an entry that is being filled.
const PARTIAL: &str = ".partial-";
/// Age from which an incomplete entry is abandoned: its task was killed.
const ABANDONED: Duration = Duration::from_hours(24);

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

/// The folder `key` of the cache, filled by `fill` if it does not exist yet.
///
/// `fill` works in a folder that is renamed when it is complete, so that an interrupted run leaves no partial
/// entry, and two concurrent runs do not interfere.
///
/// # Errors
/// `fill` fails, or the folder cannot be written.
pub(crate) fn entry(key: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    entry_in(&root()?, key, fill)
}

fn entry_in(root: &Path, key: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = root.join(key);
    if folder.is_dir() {
        return Ok(folder);
    }
    remove_abandoned(root)?;
    let temporary = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(root)
        .with_context(|| format!("cannot write to {}", root.display()))?;
    let work = temporary.path().join("entry");
    fs::create_dir(&work)?;
    fill(&work)?;
    match fs::rename(&work, &folder) {
        Ok(()) => Ok(folder),
        // A concurrent run was faster; its entry is equivalent.
        Err(_) if folder.is_dir() => Ok(folder),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// Removes folders that killed tasks left.
fn remove_abandoned(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            continue;
        }
        // A folder that disappears was completed.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.modified()?.elapsed().unwrap_or_default() > ABANDONED {
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
    fn fills_an_entry_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = entry_in(root.path(), "a", |work| Ok(fs::write(work.join("file"), "1")?)).unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "1");
        entry_in(root.path(), "a", |_| bail!("filled twice")).unwrap();
    }

    #[test]
    fn failed_fill_leaves_no_entry() {
        let root = tempfile::tempdir().unwrap();
        let result = entry_in(root.path(), "a", |work| {
            fs::write(work.join("file"), "1")?;
            bail!("interrupted")
        });
        assert!(result.is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
    #[test]
    fn removes_only_old_partial_entries() {
        let root = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - ABANDONED - Duration::from_secs(1);
        for (name, time) in [(".partial-old", old), (".partial-new", SystemTime::now()), ("entry", old)] {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            File::open(&folder).unwrap().set_modified(time).unwrap();
        }
        remove_abandoned(root.path()).unwrap();
        let left = |name: &str| root.path().join(name).exists();
        assert_eq!([left(".partial-old"), left(".partial-new"), left("entry")], [false, true, true]);
    }
}
