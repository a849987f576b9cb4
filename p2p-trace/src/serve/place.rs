//! Where running tracers put their sockets.

use std::{
    env, fs, io, iter,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// For root.
const SYSTEM: &str = "/run/p2p-trace";

/// The folder below `XDG_RUNTIME_DIR`, for everybody else.
const USER: &str = "p2p-trace";

/// The folders that sockets are in, the preferred one first.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(super) Vec<PathBuf>);

impl Place {
    /// `/run/p2p-trace`, and `p2p-trace` in the user's own folder for what runs.
    pub(crate) fn of_host() -> Self {
        let user = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = user.filter(|path| path.is_absolute()).map(|path| path.join(USER));
        Self(iter::once(PathBuf::from(SYSTEM)).chain(user).collect())
    }

    /// The first folder that can be had, made if need be, or why the last one cannot.
    pub(super) fn prepare(&self) -> io::Result<&Path> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no folder for sockets");
        for folder in &self.0 {
            match prepare(folder) {
                Ok(()) => return Ok(folder),
                Err(error) => last = named(folder, &error),
            }
        }
        Err(last)
    }

    /// Every socket with the process that made it, the newest first.
    pub(super) fn sockets(&self) -> Vec<(PathBuf, u32)> {
        let mut sockets: Vec<_> = self.0.iter().flat_map(|folder| sockets_in(folder)).collect();
        sockets.sort_by(|left, right| right.cmp(left));
        sockets.into_iter().map(|(_, path, pid)| (path, pid)).collect()
    }
}

fn prepare(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Somebody else's folder, or a link to one, is no place for a socket that says who may be asked.
    let metadata = fs::symlink_metadata(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it is not a folder that only user {own} can write to"),
        ))
    }
}

/// The error with the path that it is about.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The name of the socket of a process.
pub(super) fn file_name(pid: u32) -> String {
    format!("{pid}.sock")
}

/// Time of creation, path and process of each socket.
fn sockets_in(folder: &Path) -> Vec<((i64, i64), PathBuf, u32)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.strip_suffix(".sock")?.parse().ok()?;
            let metadata = entry.metadata().ok()?;
            Some(((metadata.mtime(), metadata.mtime_nsec()), entry.path(), pid))
        })
        .collect()
}
