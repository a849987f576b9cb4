//! The sources of the module, read once, so that the build and the fingerprint use the same bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::host::inputs;

/// The compiled files: those with these extensions, and the file of this name.
const EXTENSIONS: [&str; 2] = ["c", "h"];
const KBUILD: &str = "Kbuild";
/// Characters of a fingerprint.
const LENGTH: usize = 16;

/// Names and contents, sorted by name.
#[derive(Debug)]
pub(super) struct Sources(Vec<(String, Vec<u8>)>);

impl Sources {
    /// Reads the sources in `folder`.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or has no sources.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let at = || format!("cannot read the module's sources in {}", folder.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).with_context(at)? {
            let path = entry.with_context(at)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if name == KBUILD || extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                files.push((name, fs::read(&path).with_context(at)?));
            }
        }
        files.sort();
        ensure!(files.iter().any(|(name, _)| name == KBUILD), "there is no {KBUILD} in {}", folder.display());
        Ok(Self(files))
    }

    /// Copies the sources to a new folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let at = || format!("cannot write the module's sources to {}", folder.display());
        fs::create_dir(folder).with_context(at)?;
        for (name, bytes) in &self.0 {
            fs::write(folder.join(name), bytes).with_context(at)?;
        }
        Ok(())
    }

    /// Identifies these sources, built with headers of this origin.
    pub(super) fn fingerprint(&self, origin: &str) -> String {
        let list: Vec<String> =
            self.0.iter().map(|(name, bytes)| format!("{name} {}\n", inputs::sha256(bytes))).collect();
        let mut fingerprint = inputs::sha256(format!("{origin}\n{}", list.concat()).as_bytes());
        fingerprint.truncate(LENGTH);
        fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn fingerprint_covers_compiled_files_only() {
        let first = folder(&[("Kbuild", "k"), ("a.c", "a"), ("a.h", "h"), ("README.md", "1")]);
        let other = folder(&[("Kbuild", "k"), ("a.c", "a"), ("a.h", "h"), ("a.o", "2")]);
        let changed = folder(&[("Kbuild", "k"), ("a.c", "b"), ("a.h", "h")]);
        let of = |folder: &tempfile::TempDir| Sources::read(folder.path()).unwrap().fingerprint("x");
        assert_eq!(of(&first), of(&other));
        assert_ne!(of(&first), of(&changed));
        assert_eq!(of(&first).len(), LENGTH);
        let sources = Sources::read(first.path()).unwrap();
        assert_ne!(sources.fingerprint("x"), sources.fingerprint("y"));
    }

    #[test]
    fn writes_an_identical_copy() {
        let first = folder(&[("Kbuild", "k"), ("a.c", "a")]);
        let sources = Sources::read(first.path()).unwrap();
        let copy = first.path().join("copy");
        sources.write(&copy).unwrap();
        assert_eq!(Sources::read(&copy).unwrap().0, sources.0);
    }

    #[test]
    fn rejects_a_folder_without_kbuild() {
        let error = Sources::read(folder(&[("a.c", "a")]).path()).unwrap_err();
        assert!(error.to_string().contains("no Kbuild"), "{error}");
    }
}
