//! Kernel stacks of tasks, from `/proc/P/task/T/stack`.

use std::io;

use crate::kernel::symbols::Symbol;

/// A kernel stack that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The kernel refuses (`proc_pid_stack`).
    #[error("kernel stacks are not readable: that needs CAP_SYS_ADMIN in the initial user namespace")]
    Denied,
    /// There is no such task (any more), or this kernel shows no stacks (`CONFIG_STACKTRACE`).
    #[error("the task has no kernel stack to read: it is gone, or the kernel shows none (CONFIG_STACKTRACE)")]
    Absent,
    /// Anything else.
    #[error("the kernel stack cannot be read: {0}")]
    Other(io::ErrorKind),
}

impl From<io::Error> for StackError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            // Reading a file of a task that has just exited gives ESRCH.
            io::ErrorKind::NotFound => Self::Absent,
            _ if error.raw_os_error() == Some(ESRCH) => Self::Absent,
            kind => Self::Other(kind),
        }
    }
}

/// "No such process", on every Linux.
const ESRCH: i32 = 3;

/// The frames of the file's text, innermost first. Lines without a name are left out: they cannot be told apart.
pub(super) fn parse(text: &[u8]) -> Vec<Symbol> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(parse_frame).collect()
}

/// `[<0>] nvme_dev_disable+0x1a/0x2b0 [nvme]`: the kernel's `%pB`.
fn parse_frame(line: &str) -> Option<Symbol> {
    let (_, place) = line.split_once("] ")?;
    let (place, module) = match place.trim().split_once(" [") {
        Some((place, module)) => (place, module.strip_suffix(']')),
        None => (place.trim(), None),
    };
    let (name, numbers) = place.split_once('+')?;
    let offset = numbers.split('/').next()?.strip_prefix("0x")?;
    Some(Symbol {
        name: name.into(),
        offset: u64::from_str_radix(offset, 16).ok()?,
        module: module.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read() {
        let text = "[<0>] nvme_dev_disable+0x1a/0x2b0 [nvme]\n[<0>] memunmap_pages+0x87/0x250\n\
                    [<0>] 0xffffffffc0000000\n[<ffffffff81000000>] vfs_write+0x1/0x2\n";
        let frames: Vec<_> = parse(text.as_bytes()).iter().map(Symbol::to_string).collect();
        assert_eq!(frames, ["nvme_dev_disable+0x1a [nvme]", "memunmap_pages+0x87", "vfs_write+0x1"]);
    }

    #[test]
    fn errors_say_what_is_missing() {
        let of = |number| StackError::from(io::Error::from_raw_os_error(number)).to_string();
        assert!(of(13).contains("CAP_SYS_ADMIN") && of(1).contains("CAP_SYS_ADMIN"));
        assert!(of(3).contains("gone") && of(2).contains("gone"));
        assert!(of(5).contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_allocated(bytes: Vec<u8>) {
            let _frames = parse(&bytes);
        }
    }
}
