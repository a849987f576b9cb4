//! Colours and signs: a few roles, each with a form that needs no colour, and signs that need no Unicode.

use std::env;

use ratatui::style::{Color, Modifier, Style};

/// How much colour there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Palette {
    /// None: weight and inversion only.
    Mono,
    /// The sixteen colours that every terminal has, as its owner set them.
    Sixteen,
    /// The 256 of most terminals.
    Rich,
}

/// How text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    palette: Palette,
    /// Nothing but ASCII.
    pub(crate) ascii: bool,
}

impl Theme {
    /// As asked for.
    pub(crate) const fn new(palette: Palette, ascii: bool) -> Self {
        Self { palette, ascii }
    }

    /// What this terminal can, by its environment. `color`: any at all.
    pub(crate) fn of_environment(color: bool) -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        Self::detect(color, text)
    }

    /// The same, with nothing but ASCII if `ascii` says so.
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
        // The first of these that is set decides, as in setlocale(3).
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

    /// What must not be overlooked. Words say the same.
    pub(crate) const fn alarm(self) -> Style {
        self.paint(Modifier::BOLD, Color::Red, 203)
    }

    /// The same for a badge.
    pub(crate) const fn badge(self) -> Style {
        self.alarm().add_modifier(Modifier::REVERSED)
    }

    /// What needs attention.
    pub(crate) const fn warning(self) -> Style {
        self.paint(Modifier::UNDERLINED, Color::Yellow, 221).remove_modifier(
            if matches!(self.palette, Palette::Mono) { Modifier::empty() } else { Modifier::UNDERLINED },
        )
    }

    /// What is well.
    pub(crate) const fn good(self) -> Style {
        self.paint(Modifier::empty(), Color::Green, 114)
    }

    /// A step of a teardown.
    pub(crate) const fn teardown(self) -> Style {
        self.paint(Modifier::BOLD, Color::Cyan, 80)
    }

    /// What matters less.
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

    /// The line that the cursor is on.
    pub(crate) const fn selected(self) -> Style {
        match self.palette {
            Palette::Rich => Style::new().bg(Color::Indexed(237)).add_modifier(Modifier::BOLD),
            Palette::Mono | Palette::Sixteen => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Bars of a chart.
    pub(crate) const fn bar(self) -> Style {
        self.paint(Modifier::empty(), Color::Cyan, 74)
    }

    /// An eighth to eight eighths of a cell.
    pub(crate) const fn bars(self) -> [&'static str; 8] {
        if self.ascii {
            [".", ".", ":", ":", "+", "+", "#", "#"]
        } else {
            ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        }
    }

    /// Text that the terminal can show: only times have a sign that is not ASCII.
    pub(crate) fn text(self, text: String) -> String {
        if self.ascii && !text.is_ascii() { text.replace('µ', "u").replace('…', "~") } else { text }
    }
}

/// Signs: a name, and what stands for it, with Unicode and without.
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
    fn the_environment_decides() {
        let utf8 = ("LANG", "C.UTF-8");
        let rich = ("TERM", "xterm-256color");
        assert_eq!(detect(true, &[utf8, rich]), Theme::new(Palette::Rich, false));
        assert_eq!(detect(false, &[utf8, rich]), Theme::new(Palette::Mono, false));
        assert_eq!(detect(true, &[("TERM", "linux")]), Theme::new(Palette::Sixteen, true));
        let overridden = [utf8, ("LC_ALL", "C")];
        assert_eq!(detect(true, &overridden), Theme::new(Palette::Sixteen, true));
    }

    #[test]
    fn without_colour_there_is_none() {
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
