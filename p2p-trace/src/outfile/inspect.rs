//! Checks the existing file at the path of an output.

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
};

use super::{OutputError, identity::Identity};

/// The kind of the existing file.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// A file or a link that may be replaced.
    Replaceable,
    /// A FIFO or a character device.
    Stream,
}

/// Examines a path without following links. Fails if it must not be written to: see [`OutputError`].
pub(super) fn inspect(path: &Path, inputs: &[Identity], force: bool) -> Result<Found, OutputError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        found => found.map_err(|cause| create_error(path, cause))?,
    };
    // A link to an input counts as the input, like any other name of it.
    let found = [Identity::of(path, &metadata), Identity::of_path(path)];
    if found.iter().flatten().any(|found| inputs.contains(found)) {
        return Err(OutputError::IsInput(path.to_owned()));
    }
    if metadata.is_symlink() {
        return if force { Ok(Found::Replaceable) } else { Err(OutputError::Link(path.to_owned())) };
    }
    if metadata.is_file() {
        return if force { Ok(Found::Replaceable) } else { Err(OutputError::Exists(path.to_owned())) };
    }
    if metadata.is_dir() {
        return Err(OutputError::Folder(path.to_owned()));
    }
    match refused(&metadata) {
        Some(what) => Err(OutputError::Special { path: path.to_owned(), what }),
        None => Ok(Found::Stream),
    }
}

/// Checks the path again when the file is created or replaced.
pub(super) fn expect_replaceable(path: &Path, inputs: &[Identity]) -> Result<(), OutputError> {
    match inspect(path, inputs, true)? {
        Found::Nothing | Found::Replaceable => Ok(()),
        Found::Stream => Err(OutputError::Special { path: path.to_owned(), what: "now a pipe or a device" }),
    }
}

/// The error for a file that cannot be created or opened.
pub(super) fn create_error(path: &Path, cause: io::Error) -> OutputError {
    OutputError::Create { path: path.to_owned(), cause }
}

/// The kind of a file that is neither a FIFO nor a character device.
#[cfg(unix)]
fn refused(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        None
    } else if kind.is_block_device() {
        Some("a block device")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("neither a file nor a pipe")
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "other systems have more kinds")]
const fn refused(_metadata: &Metadata) -> Option<&'static str> {
    Some("neither a file nor a folder")
}

/// Opens a FIFO or a character device. A FIFO waits for a reader, as in a shell.
#[cfg(unix)]
#[expect(
    clippy::disallowed_methods,
    reason = "it creates and truncates nothing: other kinds of files are refused"
)]
pub(super) fn open_stream(path: &Path) -> Result<File, OutputError> {
    use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _};
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(path)
        .map_err(|cause| create_error(path, cause))?;
    let metadata = file.metadata().map_err(|cause| create_error(path, cause))?;
    if metadata.is_file() || refused(&metadata).is_some() {
        return Err(OutputError::Exists(path.to_owned()));
    }
    Ok(file)
}

#[cfg(not(unix))]
pub(super) fn open_stream(path: &Path) -> Result<File, OutputError> {
    Err(create_error(path, io::ErrorKind::Unsupported.into()))
}
