//! The headers that a kernel's modules are built with.

use std::path::PathBuf;

/// The source of a kernel's headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Headers {
    /// This folder, as an argument of `make -C`.
    Folder(PathBuf),
    /// An archive of one folder.
    Archive {
        /// The `.tar.xz`.
        file: PathBuf,
        /// Its checksum.
        sha256: String,
    },
    /// A Debian package, to be used with the compiler of these suites.
    Debian {
        /// The suites; the first is the release itself.
        suites: &'static [&'static str],
    },
    /// Not available.
    None,
}
