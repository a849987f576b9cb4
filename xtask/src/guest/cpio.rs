//! Writes the archive format that Linux unpacks as its first root file system: cpio, "new ASCII" variant
//! (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).

/// File type bits of `c_mode`, as in `<sys/stat.h>`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive that grows file by file.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty archive.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a folder. Its parents must have been added before.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, b"");
    }

    /// Adds a file with the permission bits of `mode`.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, REGULAR | mode, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, target.as_bytes());
    }

    /// Ends the archive and returns its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    /// Writes header, name and content, each padded to four bytes. Everything belongs to root at time 0, so
    /// that the same content results in the same archive.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let inode = self.entries;
        self.entries += 1;
        let fields = [
            inode,
            mode,
            0,                     // owner
            0,                     // group
            1,                     // links
            0,                     // modification time
            content.len() as u32,  // size
            0,                     // device, major
            0,                     // device, minor
            0,                     // special file, major
            0,                     // special file, minor
            path.len() as u32 + 1, // name with its NUL
            0,                     // checksum, unused by this variant
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Pads to the next multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn writes_the_documented_bytes() {
        let mut archive = Archive::new();
        archive.file("a", 0o644, b"hey");
        let bytes = archive.finish();
        let header = "07070100000000000081a4000000000000000000000001000000000000000300000000\
                      0000000000000000000000000000000200000000";
        assert_eq!(header.len(), 110);
        assert_eq!(&bytes[..110], &header.as_bytes()[..110]);
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..116], b"hey\0");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }

    #[test]
    fn cpio_unpacks_the_archive() {
        let mut archive = Archive::new();
        archive.directory("bin");
        archive.file("bin/x", 0o755, b"#!/bin/sh\necho ok\n");
        archive.symlink("y", "bin/x");
        let folder = tempfile::tempdir().unwrap();
        let Ok(mut child) =
            Command::new("cpio").args(["-i", "--quiet"]).current_dir(&folder).stdin(Stdio::piped()).spawn()
        else {
            eprintln!("skipped: cpio is not installed");
            return;
        };
        child.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        assert!(child.wait().unwrap().success());
        let out = Command::new("sh").arg(folder.path().join("y")).output().unwrap();
        assert_eq!(out.stdout, b"ok\n");
    }
}
