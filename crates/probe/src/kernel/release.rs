//! The kernel's release, as printed by `uname -r`.

#![forbid(unsafe_code)]

use std::fmt;

use p2p_trace_model::text::Text;

use super::root::{KernelRoot, read_text};

/// A release such as `7.3.4+deb13-amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    text: Text,
    version: Option<Version>,
}

/// The comparable part of a release: `major.minor`.
///
/// Distributions backport features to older versions, so look at the kernel itself (BTF, symbols) where possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 7 of 7.3.4.
    pub major: u32,
    /// The 3 of 7.3.4.
    pub minor: u32,
}

impl Version {
    /// A version to compare with.
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Release {
    /// Parses any text; a text that does not start with a version has none.
    pub(crate) fn parse(text: &str) -> Self {
        let text = Text::from(text.trim());
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let version = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some(Version { major, minor }),
            _ => None,
        };
        Self { text, version }
    }

    /// The running kernel's release, from `/proc/sys/kernel/osrelease`; `None` without `/proc`.
    pub(crate) fn read(root: &KernelRoot) -> Option<Self> {
        let text = read_text(&root.proc.join("sys/kernel/osrelease"))?;
        (!text.is_empty()).then(|| Self::parse(&text))
    }

    /// The complete text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the release has this version or a later one; `None` if its version is unknown.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> Option<bool> {
        Some(self.version? >= Version::new(major, minor))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_releases_of_distributions() {
        let version = |text| Release::parse(text).version;
        assert_eq!(version("7.3.4+deb13-amd64\n"), Some(Version::new(7, 3)));
        assert_eq!(version("5.10.0-32-amd64"), Some(Version::new(5, 10)));
        assert_eq!(version("6.12-rc3"), Some(Version::new(6, 12)));
        assert_eq!(version("linux"), None);
        assert_eq!(version("6"), None);
        assert_eq!(version("99999999999.1"), None);
    }

    #[test]
    fn compares_numbers_not_text() {
        assert_eq!(Release::parse("5.10.223").is_at_least(5, 9), Some(true));
        assert_eq!(Release::parse("5.10.223").is_at_least(5, 12), Some(false));
        assert_eq!(Release::parse("custom").is_at_least(5, 12), None);
    }
}
