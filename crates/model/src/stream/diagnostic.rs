//! What the kernel side says of itself.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// How much of it is wanted, and how much a statement matters: each level has those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It should not be.
    Error,
    /// A read failed, or something was in use.
    Warn,
    /// Anything of note.
    Info,
    /// What is left out, and why.
    Debug,
    /// What the armed hooks decide.
    Trace,
}

impl Level {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A statement of the kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// By when it was read, `CLOCK_BOOTTIME` in nanoseconds: it was said some milliseconds before.
    pub time_ns: u64,
    /// How much it matters.
    pub level: Level,
    /// In words.
    pub text: Text,
}

impl Diagnostic {
    /// Bytes of a text that are kept.
    pub const MAX_TEXT: usize = 240;

    /// With as much of the text as is kept.
    #[must_use]
    pub fn new(time_ns: u64, level: Level, text: &str) -> Self {
        let kept = &text[..text.floor_char_boundary(Self::MAX_TEXT)];
        Self { time_ns, level, text: kept.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let of = |text: &str| Diagnostic::new(1, Level::Warn, text).text;
        assert_eq!(of("short"), "short");
        let long = format!("{}ß", "a".repeat(Diagnostic::MAX_TEXT - 1));
        assert_eq!(of(&long), "a".repeat(Diagnostic::MAX_TEXT - 1).as_str());
        assert_eq!(of(&"a".repeat(1000)).len(), Diagnostic::MAX_TEXT);
    }

    #[test]
    fn a_level_has_those_before_it() {
        assert!(Level::Error < Level::Warn && Level::Debug < Level::Trace);
    }
}
