//! Programs that cargo installs, built into the cache folder; the user's own `~/.cargo/bin` stays as it is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{cache, cargo, command};

/// A release of a crate with a program of the same name.
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// How long building it takes, as it completes "about …".
    pub(crate) takes: &'static str,
}

impl Release {
    /// The program in `PATH`, if it is of this release.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        command::find(self.name).filter(|program| self.is_told(Command::new(program).arg("--version")))
    }

    fn is_told(&self, ask: &mut Command) -> bool {
        let told = command::probe(ask).unwrap_or_default();
        told.trim() == format!("{} {}", self.name, self.version)
    }

    /// Builds the program into the entry `key` of the cache, unless it is there; `adapt` changes how.
    ///
    /// # Errors
    ///
    /// It cannot be downloaded or built, or the cache not be written.
    pub(crate) fn build(&self, key: &str, adapt: impl FnOnce(&mut Command)) -> Result<PathBuf> {
        let Self { name, version, takes } = self;
        let folder = cache::entry(key, |work| {
            println!("Building {name} {version} into the cache folder (about {takes}).");
            let mut install = cargo::plain(work);
            install
                .args(["install", name, "--locked", "--version", version, "--root"])
                .arg(work)
                // That it is there soon matters more than how fast it is. What it makes is the same.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            adapt(&mut install);
            command::run(&mut install, &format!("building {name}"))
        })?;
        let program = folder.join("bin").join(name);
        program
            .is_file()
            .then_some(program)
            .with_context(|| format!("{name} was built but has no program: remove {}", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_release_or_program_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let said_in = folder.path().join("said");
        let release = Release { name: "tool", version: "1.2.3", takes: "no time" };
        for (said, is_it) in [("tool 1.2.3", true), ("tool 1.2.30", false), ("other 1.2.3", false)] {
            std::fs::write(&said_in, said).unwrap();
            let is_told = release.is_told(Command::new("cat").arg(&said_in));
            assert_eq!(is_told, is_it, "{said}");
        }
        assert_eq!(release.find(), None);
    }
}
