//! The identity of a file, which is the same under all its names.

use std::{fs, fs::Metadata, path::Path};

/// The inode of a file or folder, or the number of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Device and inode: the same for all hard links.
    #[cfg(unix)]
    Inode(u64, u64),
    /// A block device, the same for all its nodes.
    #[cfg(unix)]
    Block(u64),
    /// A character device, the same for all its nodes.
    #[cfg(unix)]
    Character(u64),
    /// The canonical path, on systems without inodes.
    #[cfg(not(unix))]
    Name(std::path::PathBuf),
}

impl Identity {
    /// The identity of the file that a path resolves to; `None` if it does not exist, or stores no data, such as a pipe.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        Self::of(path, &fs::metadata(path).ok()?)
    }

    /// The identity for this metadata. The path is used on systems without inodes.
    #[cfg(unix)]
    pub(super) fn of(_path: &Path, metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let kind = metadata.file_type();
        if metadata.is_file() || metadata.is_dir() {
            Some(Self::Inode(metadata.dev(), metadata.ino()))
        } else if kind.is_block_device() {
            Some(Self::Block(metadata.rdev()))
        } else if kind.is_char_device() {
            Some(Self::Character(metadata.rdev()))
        } else {
            None
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(path: &Path, _metadata: &Metadata) -> Option<Self> {
        fs::canonicalize(path).ok().map(Self::Name)
    }

    /// The identity of an open file; `None` also if it cannot be determined.
    #[cfg(unix)]
    pub(super) fn of_file(file: &fs::File) -> Option<Self> {
        Self::of(Path::new(""), &file.metadata().ok()?)
    }

    #[cfg(not(unix))]
    pub(super) const fn of_file(_file: &fs::File) -> Option<Self> {
        None
    }

    /// Whether written data is stored, unlike by a terminal or `/dev/null`.
    pub(super) const fn is_data(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Inode(..) | Self::Block(_) => true,
            #[cfg(unix)]
            Self::Character(_) => false,
            #[cfg(not(unix))]
            Self::Name(_) => true,
        }
    }
}
