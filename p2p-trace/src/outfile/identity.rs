//! What makes two names the same file.

use std::{fs, fs::Metadata, path::Path};

/// A file or folder by its place in the file system, or a device by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Device and inode: the same for every hard link.
    #[cfg(unix)]
    Inode(u64, u64),
    /// A block device, by whatever node.
    #[cfg(unix)]
    Block(u64),
    /// A character device, by whatever node.
    #[cfg(unix)]
    Character(u64),
    /// The name without links, where there is nothing better.
    #[cfg(not(unix))]
    Name(std::path::PathBuf),
}

impl Identity {
    /// What a path leads to in the end; `None`: nothing, or what keeps nothing, such as a pipe.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        Self::of(path, &fs::metadata(path).ok()?)
    }

    /// What has this metadata, and where else there is nothing to go by this path.
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

    /// What an open file is; `None` also where that cannot be told.
    #[cfg(unix)]
    pub(super) fn of_file(file: &fs::File) -> Option<Self> {
        Self::of(Path::new(""), &file.metadata().ok()?)
    }

    #[cfg(not(unix))]
    pub(super) const fn of_file(_file: &fs::File) -> Option<Self> {
        None
    }

    /// It keeps what is written to it, unlike a terminal or `/dev/null`.
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
