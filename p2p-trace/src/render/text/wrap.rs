//! Line wrapping.

/// Breaks at spaces; a word longer than a line is not broken.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let length = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && length > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("who held what", 8), ["who held", "what"]);
        assert_eq!(wrap("a 0000:03:00.0 b", 4), ["a", "0000:03:00.0", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
