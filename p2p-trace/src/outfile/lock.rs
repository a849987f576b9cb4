//! Creates files, and holds a lock on each until it is closed, so that another p2p-trace does not remove it meanwhile.
//!
//! Two recorders may write to the same series of files. Each removes the oldest files of the series, which may include a file
//! that the other one is still writing. The lock is advisory (`flock`): readers are not affected, and the kernel drops it when
//! the process ends, however it ends.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Attempts to create a file that another process removes before it is locked.
const TRIES: u32 = 16;

/// The lock on a file that is to be removed.
#[derive(Debug)]
pub(super) enum Lock {
    /// No other process can be writing the file.
    NotNeeded,
    /// Held until this is dropped.
    #[cfg(unix)]
    Held(#[expect(dead_code, reason = "closing the file drops the lock")] File),
    /// Another process is writing the file.
    #[cfg(unix)]
    Busy,
}

/// Creates a file where there is none, and locks it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut tries = 0;
    loop {
        let file = create_new(path)?;
        // Another process may take the file for one that an earlier run left, between its creation and its lock.
        if lock_created(&file) || tries == TRIES {
            return Ok(file);
        }
        tries += 1;
    }
}

/// Locks a new file. Returns false when it was removed before that.
#[cfg(unix)]
fn lock_created(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // A process that removes the file holds the lock for a moment only.
    if let Err(error) = file.lock() {
        // A file system without locks. Others cannot lock the file either, so they do not remove it.
        tracing::debug!("cannot lock a new file: {error}");
    }
    file.metadata().map_or(true, |metadata| metadata.nlink() > 0)
}

/// On other systems there are no advisory locks: a lock would keep readers out.
#[cfg(not(unix))]
const fn lock_created(_file: &File) -> bool {
    true
}

/// Locks a file that is to be removed.
///
/// # Errors
///
/// The file cannot be opened or locked, so that it is unknown whether another process is writing it.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "it creates and truncates nothing")]
pub(super) fn of_closed(path: &Path) -> io::Result<Lock> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // NFS locks only files that are open for writing.
    let mut options = fs::OpenOptions::new();
    options.append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::NotNeeded),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock::Held(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(Lock::Busy),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
pub(super) const fn of_closed(_path: &Path) -> io::Result<Lock> {
    Ok(Lock::NotNeeded)
}

/// The only function that creates files. They are readable by their owner only, because they can contain kernel addresses.
#[expect(clippy::disallowed_methods, reason = "this is where files are created")]
fn create_new(path: &Path) -> io::Result<File> {
    // After its end was cut off, writing continues at the new end.
    let mut options = fs::OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options.open(path)
}
