//! Colors.

/// Whether text is colored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Write escape sequences.
    pub(crate) color: bool,
}

impl Style {
    /// Secondary text.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Alarms.
    pub(crate) fn alarm(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Failures and warnings.
    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Steps of a teardown.
    pub(crate) fn teardown(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
