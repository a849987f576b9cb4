//! Programs that cargo installs, built into the cache folder; the user's own `~/.cargo/bin` is not changed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{cache, cargo, command};

/// A release of a crate with a program of the same name.
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The build time, as it completes "about …".
    pub(crate) build_time: &'static str,
}

impl Release {
    /// The program in `PATH`, if it is this release.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        command::find(self.name).filter(|program| self.matches(Command::new(program).arg("--version")))
    }

    fn matches(&self, query: &mut Command) -> bool {
        let version = command::probe(query).unwrap_or_default();
        version.trim() == format!("{} {}", self.name, self.version)
    }

    /// Builds the program into the entry `key` of the cache, unless it exists; `adapt` modifies the command.
    ///
    /// # Errors
    ///
    /// The program cannot be downloaded or built, or the cache cannot be written.
    pub(crate) fn build(&self, key: &str, adapt: impl FnOnce(&mut Command)) -> Result<PathBuf> {
        let Self { name, version, build_time } = self;
        let folder = cache::entry(key, |work| {
            println!("Building {name} {version} into the cache folder (about {build_time}).");
            let mut install = cargo::plain(work);
            install
                .args(["install", name, "--locked", "--version", version, "--root"])
                .arg(work)
                // A quick build matters more than a fast program; the program's output is the same.
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
    fn rejects_other_releases_and_programs() {
        let folder = tempfile::tempdir().unwrap();
        let output_file = folder.path().join("output");
        let release = Release { name: "tool", version: "1.2.3", build_time: "no time" };
        for (output, is_it) in [("tool 1.2.3", true), ("tool 1.2.30", false), ("other 1.2.3", false)] {
            std::fs::write(&output_file, output).unwrap();
            let matches = release.matches(Command::new("cat").arg(&output_file));
            assert_eq!(matches, is_it, "{output}");
        }
        assert_eq!(release.find(), None);
    }
}
