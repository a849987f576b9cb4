//! Open descriptors, such as stdout, by their path names. They are duplicated: opening `/dev/stdout` would follow a link, and
//! truncate the file that stdout was redirected to or write at its start.

use std::{fs::File, io, path::Path};

/// The descriptor number of stdin.
pub(super) const STDIN: i32 = 0;
/// The descriptor number of stdout.
pub(super) const STDOUT: i32 = 1;
/// The descriptor number of stderr.
pub(super) const STDERR: i32 = 2;

/// The number of the descriptor that has this name.
pub(super) fn number(path: &Path) -> Option<i32> {
    let name = path.to_str()?;
    if name == "-" {
        return Some(STDOUT);
    }
    if !cfg!(unix) {
        return None;
    }
    match name {
        "/dev/stdin" => Some(STDIN),
        "/dev/stdout" => Some(STDOUT),
        "/dev/stderr" => Some(STDERR),
        _ => ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"]
            .iter()
            .find_map(|folder| name.strip_prefix(folder))
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| number.parse().ok()),
    }
}

/// Duplicates a descriptor.
#[cfg(unix)]
pub(super) fn duplicate(number: i32) -> io::Result<File> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: the arguments are numbers; a descriptor that is not open is an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, STDERR + 1) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created and has no other owner.
    Ok(unsafe { File::from_raw_fd(copy) })
}

#[cfg(windows)]
pub(super) fn duplicate(number: i32) -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    match number {
        STDIN => io::stdin().as_handle().try_clone_to_owned(),
        STDOUT => io::stdout().as_handle().try_clone_to_owned(),
        STDERR => io::stderr().as_handle().try_clone_to_owned(),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
    .map(File::from)
}

#[cfg(not(any(unix, windows)))]
pub(super) fn duplicate(_number: i32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the file was opened for writing.
#[cfg(unix)]
pub(super) fn is_writable(file: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the only argument is an open descriptor.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    flags != -1 && flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// Always true: writing shows whether it is.
#[cfg(not(unix))]
pub(super) const fn is_writable(_file: &File) -> bool {
    true
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_of_descriptors() {
        for (name, expected) in [
            ("-", Some(1)),
            ("/dev/stdout", Some(1)),
            ("/dev/stderr", Some(2)),
            ("/dev/fd/63", Some(63)),
            ("/proc/self/fd/1", Some(1)),
            ("/dev/fd/", None),
            ("/dev/fd/+1", None),
            ("/dev/fd/1/x", None),
            ("/dev/fd/99999999999", None),
            ("/dev/null", None),
            ("stdout", None),
            ("./-", None),
        ] {
            assert_eq!(number(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_closed_descriptor_cannot_be_duplicated() {
        let error = duplicate(9999).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_file_that_was_opened_for_reading_is_not_writable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(is_writable(file.as_file()));
        assert!(!is_writable(&File::open(file.path()).unwrap()));
    }
}
