//! Colors and signs. Each role of text also works without color, and each sign has an ASCII form.

use std::env;

use ratatui::style::{Color, Modifier, Style};

/// The available colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Palette {
    /// No color: only bold, underline and reverse.
    Mono,
    /// The sixteen colors of every terminal, as configured there.
    Sixteen,
    /// The 256 colors of most terminals.
    Rich,
}

/// Colors and character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    palette: Palette,
    /// Whether to use only ASCII.
    pub(crate) ascii: bool,
}

impl Theme {
    /// Creates a theme.
    pub(crate) const fn new(palette: Palette, ascii: bool) -> Self {
        Self { palette, ascii }
    }

    /// Detects the abilities of this terminal from the environment. `color` allows colors.
    pub(crate) fn of_environment(color: bool) -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        Self::detect(color, text)
    }

    /// The theme, restricted to ASCII if `ascii` is set.
    pub(crate) const fn with_ascii(self, ascii: bool) -> Self {
        Self { ascii: self.ascii || ascii, ..self }
    }

    fn detect(color: bool, text: impl Fn(&str) -> String) -> Self {
        let rich = text("TERM").contains("256color") || !text("COLORTERM").is_empty();
        let palette = match (color, rich) {
            (false, _) => Palette::Mono,
            (true, false) => Palette::Sixteen,
            (true, true) => Palette::Rich,
        };
        // The first one that is set decides, as in setlocale(3).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .map(text)
            .into_iter()
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Self::new(palette, !utf8)
    }

    const fn paint(self, mono: Modifier, sixteen: Color, rich: u8) -> Style {
        let style = Style::new().add_modifier(mono);
        match self.palette {
            Palette::Mono => style,
            Palette::Sixteen => style.fg(sixteen),
            Palette::Rich => style.fg(Color::Indexed(rich)),
        }
    }

    /// Alarms. The text must say the same without color.
    pub(crate) const fn alarm(self) -> Style {
        self.paint(Modifier::BOLD, Color::Red, 203)
    }

    /// Alarms in a badge.
    pub(crate) const fn badge(self) -> Style {
        self.alarm().add_modifier(Modifier::REVERSED)
    }

    /// Warnings.
    pub(crate) const fn warning(self) -> Style {
        self.paint(Modifier::UNDERLINED, Color::Yellow, 221).remove_modifier(
            if matches!(self.palette, Palette::Mono) { Modifier::empty() } else { Modifier::UNDERLINED },
        )
    }

    /// Good results.
    pub(crate) const fn good(self) -> Style {
        self.paint(Modifier::empty(), Color::Green, 114)
    }

    /// Teardown steps.
    pub(crate) const fn teardown(self) -> Style {
        self.paint(Modifier::BOLD, Color::Cyan, 80)
    }

    /// Less important text.
    pub(crate) const fn dim(self) -> Style {
        match self.palette {
            Palette::Mono => Style::new(),
            Palette::Sixteen => Style::new().add_modifier(Modifier::DIM),
            Palette::Rich => Style::new().fg(Color::Indexed(245)),
        }
    }

    #[expect(clippy::unused_self, reason = "a role like the others")]
    pub(crate) const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The line of the cursor.
    pub(crate) const fn selected(self) -> Style {
        match self.palette {
            Palette::Rich => Style::new().bg(Color::Indexed(237)).add_modifier(Modifier::BOLD),
            Palette::Mono | Palette::Sixteen => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Chart bars.
    pub(crate) const fn bar(self) -> Style {
        self.paint(Modifier::empty(), Color::Cyan, 74)
    }

    /// Bars from one eighth to eight eighths of a cell.
    pub(crate) const fn bars(self) -> [&'static str; 8] {
        if self.ascii {
            [".", ".", ":", ":", "+", "+", "#", "#"]
        } else {
            ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        }
    }

    /// Replaces characters that the terminal cannot show. Only `µ` of times and `…` occur.
    pub(crate) fn text(self, text: String) -> String {
        if self.ascii && !text.is_ascii() { text.replace('µ', "u").replace('…', "~") } else { text }
    }
}

/// Defines signs: name, Unicode form, ASCII form.
macro_rules! signs {
    ($($name:ident $unicode:literal $ascii:literal;)+) => {
        impl Theme {
            $(pub(crate) const fn $name(self) -> &'static str {
                if self.ascii { $ascii } else { $unicode }
            })+
        }
    };
}

signs! {
    rule "─" "-";
    cut "…" "~";
    dot " · " " | ";
    cursor "▌" ">";
    done "✓" "+";
    wrong "✗" "!";
    waits "▶" ">";
    next "·" ".";
    down "▼" "v";
    up "▲" "^";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(color: bool, set: &[(&str, &str)]) -> Theme {
        Theme::detect(color, |name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map_or_else(String::new, |(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn detects_theme_from_environment() {
        let utf8 = ("LANG", "C.UTF-8");
        let rich = ("TERM", "xterm-256color");
        assert_eq!(detect(true, &[utf8, rich]), Theme::new(Palette::Rich, false));
        assert_eq!(detect(false, &[utf8, rich]), Theme::new(Palette::Mono, false));
        assert_eq!(detect(true, &[("TERM", "linux")]), Theme::new(Palette::Sixteen, true));
        let overridden = [utf8, ("LC_ALL", "C")];
        assert_eq!(detect(true, &overridden), Theme::new(Palette::Sixteen, true));
    }

    #[test]
    fn mono_palette_has_no_color() {
        let theme = Theme::new(Palette::Mono, true);
        for style in [
            theme.alarm(),
            theme.badge(),
            theme.warning(),
            theme.good(),
            theme.teardown(),
            theme.dim(),
            theme.strong(),
            theme.selected(),
            theme.bar(),
        ] {
            assert_eq!((style.fg, style.bg), (None, None));
        }
    }
}
