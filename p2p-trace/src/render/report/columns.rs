//! Text in columns for a mail, indented by four: Markdown does not interpret it.

/// Aligned columns. The last column is not padded.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        let widths = cells.map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        widths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("   ");
        for (cell, &width) in row.iter().zip(&widths) {
            line.push(' ');
            line.push_str(cell);
            let missing = width.saturating_sub(cell.chars().count());
            line.extend(std::iter::repeat_n(' ', missing + 1));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Width of a line of prose.
const WIDTH: usize = 74;

/// Prose as lines of a mail, the first after `first` and the others after `rest`. No line begins with characters that
/// Markdown or a mail program would interpret.
pub(super) fn wrap(text: &str, first: &str, rest: &str) -> String {
    let mut wrapped = String::from(first);
    let mut length = first.chars().count();
    let mut is_begun = false;
    for word in text.split_whitespace() {
        let size = word.chars().count();
        if is_begun && length + 1 + size > WIDTH && !is_markup(word) {
            wrapped.push('\n');
            wrapped.push_str(rest);
            length = rest.chars().count();
        } else if is_begun {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += size;
        is_begun = true;
    }
    wrapped.push('\n');
    wrapped
}

/// At the beginning of a line this would be a list, a heading, a quote, a rule or the end of a mail.
fn is_markup(word: &str) -> bool {
    let digits = word.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let is_numbered = digits.len() < word.len() && (digits.starts_with('.') || digits.starts_with(')'));
    word.starts_with(['#', '>', '+', '-', '=', '|', '.']) || is_numbered || word == "From"
}

/// Text with Markdown's special characters escaped.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let after = characters.peek().copied().unwrap_or(' ');
        let is_special = match character {
            '\\' | '`' | '*' | '<' | '&' | '[' | ']' | '~' | '|' | '!' => true,
            // An underscore within a word is not special, and kernel functions contain many.
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            _ => false,
        };
        if is_special {
            escaped.push('\\');
        }
        escaped.push(character);
        before = character;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_line() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let rows = [row(&["a", "µs", "long"]), row(&["abc", "", "x"]), row(&["whole line of its own"])];
        assert_eq!(columns(&rows), "    a    µs  long\n    abc      x\n    whole line of its own\n");
    }

    #[test]
    fn no_line_begins_with_what_is_no_prose() {
        let text = format!("{} - # 1. > next", "x".repeat(WIDTH - 2));
        let wrapped = wrap(&text, "", "");
        assert_eq!(wrapped, format!("{} - # 1. >\nnext\n", "x".repeat(WIDTH - 2)));
    }

    #[test]
    fn names_cannot_be_markup() {
        assert_eq!(escape("pci_alloc_p2pmem"), "pci_alloc_p2pmem");
        assert_eq!(escape("_a_ *b* [c](d) <e>"), "\\_a\\_ \\*b\\* \\[c\\](d) \\<e>");
        assert_eq!(escape("\\x1b"), "\\\\x1b");
    }
}
