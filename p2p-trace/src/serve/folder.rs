//! A folder that sockets are in. Nothing in it is touched, and nobody is asked, before it is known whose it is: whoever can
//! write to it could make a tracer's name of any file, and a socket of their own of any number.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

/// Write access of others.
const OTHERS: u32 = 0o022;

/// What cannot be a tracer's.
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

/// An open folder, whatever comes into its place by name.
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
    /// Device, inode, and when it was changed last.
    identity: [i64; 4],
    /// Why it is no tracer's; nothing is done with it then.
    pub(super) unsuited: Option<Unsuited>,
    pub(super) is_own: bool,
}

impl Folder {
    /// Opens it, if it is root's or this process's own, and nobody else can write to it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            // That is what a link is to these flags.
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => denied(Unsuited::NoFolder),
            error => error.into(),
        })?;
        let stat = rustix::fs::fstat(&handle)?;
        match unsuited(&stat, FileType::Directory, own()) {
            Some(why) => Err(denied(why)),
            None => Ok(Self { path: path.to_owned(), handle }),
        }
    }

    /// The same for one that sockets are made in: made if need be, and this process's own.
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

    /// What is called as tracers call their sockets.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let names = rustix::fs::Dir::read_from(&self.handle).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()));
        names.filter_map(|name| self.entry(&name, name.strip_suffix(".sock")?.parse().ok()?)).collect()
    }

    /// This name, if there is something.
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

    /// Removes this process's own socket, or one of the same user's that is dead: what is something else by now stays.
    pub(super) fn remove(&self, entry: &Entry) {
        let now = rustix::fs::statat(&self.handle, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_same = now.is_ok_and(|stat| identity(&stat) == entry.identity);
        if entry.is_own && entry.unsuited.is_none() && is_same {
            rustix::fs::unlinkat(&self.handle, &entry.name, AtFlags::empty()).unwrap_or_default();
        }
    }
}

impl Entry {
    /// The newest first.
    pub(super) const fn changed(&self) -> (i64, i64) {
        (self.identity[2], self.identity[3])
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[expect(clippy::cast_possible_wrap, reason = "numbers to compare with themselves")]
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
