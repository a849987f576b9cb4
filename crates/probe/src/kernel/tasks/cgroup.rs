//! Names of cgroups.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use p2p_trace_model::text::Text;

use crate::kernel::KernelRoot;

/// Maximum number of folders to read. A host with more cgroups than this has other problems.
const MAX_FOLDERS: usize = 1 << 16;

/// Current paths of cgroups by id. An id is the inode number of the cgroup's folder (`kernfs_node.id`, `kernfs_ino` on 64-bit
/// kernels), and is never reused within one boot.
#[derive(Clone, Debug, Default)]
pub struct Cgroups(HashMap<u64, Text>);

impl Cgroups {
    /// Reads the version 2 hierarchy, which the kernel's cgroup ids of tasks refer to. Empty if there is none.
    pub(crate) fn read(root: &KernelRoot) -> Self {
        let mount = root.sys.join("fs/cgroup");
        // If both versions are mounted, version 2 has its own folder.
        let unified = mount.join("unified");
        let top = if unified.is_dir() { unified } else { mount };
        let mut paths = HashMap::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop().filter(|_| paths.len() < MAX_FOLDERS) {
            if let Some(id) = id_of(&folder) {
                paths.insert(id, path_below(&top, &folder));
            }
            folders.extend(subfolders(&folder));
        }
        Self(paths)
    }

    /// The path of the cgroup with this id, such as `/system.slice/nvmet.service`; `None` if it no longer exists.
    pub fn path(&self, id: u64) -> Option<&Text> {
        self.0.get(&id)
    }
}

#[cfg(unix)]
fn id_of(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata(folder).ok().map(|metadata| metadata.ino())
}

#[cfg(not(unix))]
const fn id_of(_folder: &Path) -> Option<u64> {
    None
}

fn path_below(top: &Path, folder: &Path) -> Text {
    let below = folder.strip_prefix(top).unwrap_or(folder);
    Path::new("/").join(below).as_path().into()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_path_of_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(folder.path());
        assert_eq!(Cgroups::read(&root).path(1), None);
        let service = root.sys.join("fs/cgroup/system.slice/nvmet.service");
        fs::create_dir_all(&service).unwrap();
        let cgroups = Cgroups::read(&root);
        let id = id_of(&service).unwrap();
        assert_eq!(cgroups.path(id).map(Text::as_str), Some("/system.slice/nvmet.service"));
        assert_eq!(cgroups.path(id_of(&root.sys.join("fs/cgroup")).unwrap()).map(Text::as_str), Some("/"));
        fs::create_dir_all(root.sys.join("fs/cgroup/unified/a")).unwrap();
        let id = id_of(&root.sys.join("fs/cgroup/unified/a")).unwrap();
        assert_eq!(Cgroups::read(&root).path(id).map(Text::as_str), Some("/a"));
    }
}
