//! Diagnostics of the kernel side.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The severity of a statement. A verbosity level includes the levels before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// An error that should not happen.
    Error,
    /// A failed read, or a busy resource.
    Warn,
    /// Notable events.
    Info,
    /// Omitted records and the reasons.
    Debug,
    /// Decisions of the armed hooks.
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
    /// When it was read, `CLOCK_BOOTTIME` in nanoseconds: some milliseconds after it was made.
    pub time_ns: u64,
    /// Its severity.
    pub level: Level,
    /// Its text.
    pub text: Text,
}

impl Diagnostic {
    /// Maximum length of a text in bytes.
    pub const MAX_TEXT: usize = 240;

    /// Creates a statement, and cuts its text to the maximum length.
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
    fn cuts_long_text_at_a_character_boundary() {
        let of = |text: &str| Diagnostic::new(1, Level::Warn, text).text;
        assert_eq!(of("short"), "short");
        let long = format!("{}ß", "a".repeat(Diagnostic::MAX_TEXT - 1));
        assert_eq!(of(&long), "a".repeat(Diagnostic::MAX_TEXT - 1).as_str());
        assert_eq!(of(&"a".repeat(1000)).len(), Diagnostic::MAX_TEXT);
    }

    #[test]
    fn level_includes_lower_levels() {
        assert!(Level::Error < Level::Warn && Level::Debug < Level::Trace);
    }
}
