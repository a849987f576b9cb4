//! A folder with sockets. Its owner and mode are checked before it is used: a user who can write to it could give any file the name
//! of a tracer's socket, or create sockets for any process id.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

/// Write access of others.
const OTHERS: u32 = 0o022;

/// Why a file cannot be a tracer's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsuited {
    #[error("it is not a socket")]
    NoSocket,
    #[error("it is not a folder")]
    NoFolder,
    #[error("it belongs to user {0}")]
    Owner(u32),
    #[error("others can write to it")]
    Writable,
}

/// An open folder. It stays the same even if its name is given to another one.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) path: PathBuf,
    name: OsString,
    /// Device, inode, and time of the last change.
    identity: [i64; 4],
    /// Why it is not a tracer's socket; it is not used then.
    pub(super) unsuited: Option<Unsuited>,
    pub(super) is_own: bool,
}

impl Folder {
    /// Opens a folder of root or of this process's user that others cannot write to.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            // The errors for a link with these flags.
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => denied(Unsuited::NoFolder),
            error => error.into(),
        })?;
        let stat = rustix::fs::fstat(&handle)?;
        match unsuited(&stat, FileType::Directory, own()) {
            Some(why) => Err(denied(why)),
            None => Ok(Self { path: path.to_owned(), handle }),
        }
    }

    /// Opens a folder for new sockets. Creates it if needed; it must belong to this process's user.
    pub(super) fn prepare(path: &Path) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let folder = Self::open(path)?;
        match rustix::fs::fstat(&folder.handle)?.st_uid {
            uid if uid == own() => Ok(folder),
            uid => Err(denied(Unsuited::Owner(uid))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are named like sockets of tracers.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let names = rustix::fs::Dir::read_from(&self.handle).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()));
        names.filter_map(|name| self.entry(&name, name.strip_suffix(".sock")?.parse().ok()?)).collect()
    }

    /// The file of this name, if it exists.
    pub(super) fn entry(&self, name: &str, pid: u32) -> Option<Entry> {
        let stat = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Entry {
            pid,
            path: self.path.join(name),
            name: name.into(),
            identity: identity(&stat),
            unsuited: unsuited(&stat, FileType::Socket, own()),
            is_own: stat.st_uid == own(),
        })
    }

    /// Removes a socket of this process's user, unless another file has taken its name.
    pub(super) fn remove(&self, entry: &Entry) {
        let now = rustix::fs::statat(&self.handle, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_same = now.is_ok_and(|stat| identity(&stat) == entry.identity);
        if entry.is_own && entry.unsuited.is_none() && is_same {
            rustix::fs::unlinkat(&self.handle, &entry.name, AtFlags::empty()).unwrap_or_default();
        }
    }
}

impl Entry {
    /// When it was changed last, for sorting.
    pub(super) const fn changed(&self) -> (i64, i64) {
        (self.identity[2], self.identity[3])
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[expect(clippy::cast_possible_wrap, reason = "the numbers are only compared with each other")]
const fn identity(stat: &Stat) -> [i64; 4] {
    [stat.st_dev as i64, stat.st_ino as i64, stat.st_mtime, stat.st_mtime_nsec as i64]
}

fn denied(why: Unsuited) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn unsuited(stat: &Stat, wanted: FileType, own: u32) -> Option<Unsuited> {
    if FileType::from_raw_mode(stat.st_mode) != wanted {
        Some(if wanted == FileType::Socket { Unsuited::NoSocket } else { Unsuited::NoFolder })
    } else if stat.st_uid != 0 && stat.st_uid != own {
        Some(Unsuited::Owner(stat.st_uid))
    } else if stat.st_mode & OTHERS != 0 {
        Some(Unsuited::Writable)
    } else {
        None
    }
}
