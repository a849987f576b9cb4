//! The folder of an output file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use p2p_trace_model::text::Text;

/// The folder of a path, `.` for a bare name.
pub(super) fn of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks early whether files can be created. Fails if the folder does not exist or is not writable.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    can_create(folder)
}

#[cfg(unix)]
fn can_create(folder: &Path) -> io::Result<()> {
    use std::{ffi::CString, os::unix::ffi::OsStrExt as _};
    let name = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the name ends with a zero byte and outlives the call.
    let answer =
        unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
const fn can_create(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Syncs the folder, so that new names survive a loss of power, if the file system supports that.
pub(super) fn sync(folder: &Path) {
    if let Err(error) = fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!("cannot sync the folder {}: {error}", Text::from(folder));
    }
}
