//! Markup that is well-formed by construction, and that always escapes text.

/// A part of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup(String);

/// Elements without an end tag.
const VOID: [&str; 1] = ["meta"];

impl Markup {
    /// Escaped text.
    pub(super) fn text(text: &str) -> Self {
        let mut markup = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                '&' => markup.push_str("&amp;"),
                '<' => markup.push_str("&lt;"),
                '>' => markup.push_str("&gt;"),
                '"' => markup.push_str("&quot;"),
                '\'' => markup.push_str("&#39;"),
                // Characters that no page may contain.
                character if character.is_control() && character != '\n' => markup.push('\u{fffd}'),
                character => markup.push(character),
            }
        }
        Self(markup)
    }

    /// The program's own style sheet.
    pub(super) fn style(sheet: &'static str) -> Self {
        Self(format!("<style>\n{sheet}</style>\n"))
    }

    /// Parts in sequence.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }

    pub(super) fn push(&mut self, part: Self) {
        self.0.push_str(&part.0);
    }

    /// A whole document.
    pub(super) fn document(self) -> String {
        format!("<!DOCTYPE html>\n{}\n", self.0)
    }
}

/// An element with attributes.
pub(super) fn element(name: &'static str, attributes: &[(&'static str, &str)], inside: Markup) -> Markup {
    let attribute = |(name, value): &(&str, &str)| [" ", name, "=\"", &Markup::text(value).0, "\""].concat();
    let attributes: String = attributes.iter().map(attribute).collect();
    let mut markup = format!("<{name}{attributes}>");
    if VOID.contains(&name) {
        return Markup(markup);
    }
    markup.push_str(&inside.0);
    markup.extend(["</", name, ">"]);
    if matches!(
        name,
        "p" | "tr" | "li" | "section" | "table" | "svg" | "h1" | "h2" | "h3" | "dl" | "g" | "ul"
    ) {
        markup.push('\n');
    }
    Markup(markup)
}

/// An element without content.
pub(super) fn empty(name: &'static str, attributes: &[(&'static str, &str)]) -> Markup {
    element(name, attributes, Markup::default())
}

/// An element that contains only text.
pub(super) fn plain(name: &'static str, text: &str) -> Markup {
    element(name, &[], Markup::text(text))
}

/// An element of a class that contains only text.
pub(super) fn classed(name: &'static str, class: &str, text: &str) -> Markup {
    element(name, &[("class", class)], Markup::text(text))
}

/// A table with the names of its columns.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Markup>) -> Markup {
    let cells = header.iter().map(|cell| element("th", &[("scope", "col")], Markup::text(cell)));
    let head = element("thead", &[], element("tr", &[], Markup::all(cells)));
    let body = element("tbody", &[], Markup::all(rows));
    let table = element("table", &[], Markup::all([head, body]));
    element("div", &[("class", "scroll")], table)
}

/// A row of a table.
pub(super) fn row<'a, C: IntoIterator<Item = &'a str>>(class: &str, cells: C) -> Markup {
    let cells = cells.into_iter().map(|cell| plain("td", cell));
    element("tr", &[("class", class)], Markup::all(cells))
}
