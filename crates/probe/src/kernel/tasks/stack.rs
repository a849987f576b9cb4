//! Kernel stacks of tasks, from `/proc/P/task/T/stack`.

use std::io;

use crate::kernel::symbols::Symbol;

/// A kernel stack that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The kernel denies access (`proc_pid_stack`).
    #[error("cannot read kernel stacks: CAP_SYS_ADMIN in the initial user namespace is required")]
    Denied,
    /// The task does not exist (any more), or this kernel provides no stacks (`CONFIG_STACKTRACE`).
    #[error(
        "the task has no readable kernel stack: it has exited, or the kernel provides none (CONFIG_STACKTRACE)"
    )]
    Absent,
    /// Any other error.
    #[error("cannot read the kernel stack: {0}")]
    Other(io::ErrorKind),
}

impl From<io::Error> for StackError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            // Reading a file of a task that has just exited fails with ESRCH.
            io::ErrorKind::NotFound => Self::Absent,
            _ if error.raw_os_error() == Some(ESRCH) => Self::Absent,
            kind => Self::Other(kind),
        }
    }
}

/// "No such process", on all Linux systems.
const ESRCH: i32 = 3;

/// The frames in the file's text, innermost first. Lines without a name are omitted, since they are indistinguishable.
pub(super) fn parse(text: &[u8]) -> Vec<Symbol> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(parse_frame).collect()
}

/// Parses a frame such as `[<0>] nvme_dev_disable+0x1a/0x2b0 [nvme]`: the kernel's `%pB`.
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
    fn parses_frames() {
        let text = "[<0>] nvme_dev_disable+0x1a/0x2b0 [nvme]\n[<0>] memunmap_pages+0x87/0x250\n\
                    [<0>] 0xffffffffc0000000\n[<ffffffff81000000>] vfs_write+0x1/0x2\n";
        let frames: Vec<_> = parse(text.as_bytes()).iter().map(Symbol::to_string).collect();
        assert_eq!(frames, ["nvme_dev_disable+0x1a [nvme]", "memunmap_pages+0x87", "vfs_write+0x1"]);
    }

    #[test]
    fn errors_name_the_cause() {
        let of = |number| StackError::from(io::Error::from_raw_os_error(number)).to_string();
        assert!(of(13).contains("CAP_SYS_ADMIN") && of(1).contains("CAP_SYS_ADMIN"));
        assert!(of(3).contains("exited") && of(2).contains("exited"));
        assert!(of(5).contains("cannot read"));
    }

    proptest! {
        #[test]
        fn accepts_any_bytes(bytes: Vec<u8>) {
            let _frames = parse(&bytes);
        }
    }
}
