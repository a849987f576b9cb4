//! The folders of the sockets.

use std::{
    env,
    ffi::OsString,
    io, iter,
    path::{Path, PathBuf},
};

use p2p_trace_model::text::Text;

use super::folder::{Entry, Folder};

/// The folder of root.
const SYSTEM: &str = "/run/p2p-trace";

/// The folder of other users, below `XDG_RUNTIME_DIR`.
const USER: &str = "p2p-trace";

/// The folders for sockets, in order of preference.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(super) Vec<PathBuf>);

impl Place {
    /// `/run/p2p-trace`, and `p2p-trace` in the user's runtime folder. For root only the former, because the variable can be
    /// that of the user who called `sudo`.
    pub(crate) fn of_host() -> Self {
        Self::of_user(rustix::process::geteuid().is_root(), env::var_os("XDG_RUNTIME_DIR"))
    }

    pub(super) fn of_user(is_root: bool, user: Option<OsString>) -> Self {
        let user = user.filter(|_| !is_root).map(PathBuf::from);
        let user = user.filter(|path| path.is_absolute()).map(|path| path.join(USER));
        Self(iter::once(PathBuf::from(SYSTEM)).chain(user).collect())
    }

    /// The first folder that can be used. Creates it if needed. Returns the error of the last folder if there is none.
    pub(super) fn prepare(&self) -> io::Result<Folder> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no folder for sockets");
        for path in &self.0 {
            match Folder::prepare(path) {
                Ok(folder) => return Ok(folder),
                Err(error) => last = named(path, &error),
            }
        }
        Err(last)
    }

    /// The folders that exist. Omits those that other users can write to, with a warning.
    pub(super) fn folders(&self) -> Vec<Folder> {
        let open = |path: &PathBuf| match Folder::open(path) {
            Ok(folder) => Some(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("not looking for tracers in {}: {error}", Text::from(path.as_path()));
                None
            }
        };
        self.0.iter().filter_map(open).collect()
    }
}

/// All sockets in these folders, newest first.
pub(super) fn sockets(folders: &[Folder]) -> Vec<(&Folder, Entry)> {
    let of_folder = |folder| Folder::entries(folder).into_iter().map(move |entry| (folder, entry));
    let mut sockets: Vec<_> = folders.iter().flat_map(of_folder).collect();
    sockets
        .sort_by(|(_, left), (_, right)| (right.changed(), &right.path).cmp(&(left.changed(), &left.path)));
    sockets
}

/// Adds the path to an error.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", Text::from(path)))
}

/// The name of a process's socket.
pub(super) fn file_name(pid: u32) -> String {
    format!("{pid}.sock")
}
