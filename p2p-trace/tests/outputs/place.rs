//! A folder to run the program in.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output as Ended, Stdio},
};

/// A folder with input files.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        fs::copy(tests.join("../../crates/dump/tests/fixtures/cores/vmcore"), place.path("core")).unwrap();
        fs::copy(tests.join("golden/1/blocked.p2pt"), place.path("dump")).unwrap();
        // Commands that trace fail on this file before they attach anything.
        fs::write(place.path("no-types"), "no types").unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, words: &[OsString]) -> Ended {
        self.command(words).output().unwrap()
    }

    pub(crate) fn command(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2p-trace"));
        command.args(words).current_dir(self.0.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// All files: name, inode, mode and content.
    pub(crate) fn state(&self) -> BTreeMap<OsString, (u64, u32, Vec<u8>)> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let state = entries.map(|entry| {
            let entry = entry.unwrap();
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            let content = if metadata.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            (entry.file_name(), (metadata.ino(), metadata.mode(), content))
        });
        state.collect()
    }
}
