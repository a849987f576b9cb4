//! What a module for a kernel is built with.

use std::path::PathBuf;

/// Where the headers of a kernel come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Headers {
    /// They are in this folder, as `make -C` takes it.
    Folder(PathBuf),
    /// They are packed, as one folder.
    Archive {
        /// The `.tar.xz`.
        file: PathBuf,
        /// Its checksum.
        sha256: String,
    },
    /// They are a package of Debian's, to be used with the compiler of these suites.
    Debian {
        /// The suites; the first is the release itself.
        suites: &'static [&'static str],
    },
    /// They are not here.
    None,
}
