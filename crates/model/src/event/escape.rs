//! Converts names that the kernel gives as bytes to text that loses no byte and cannot control a terminal.
//!
//! A task chooses its own `comm`, which may hold escape sequences, line breaks, or broken UTF-8. Printable
//! text is unchanged, except that a backslash is doubled; every other byte becomes `\xNN`.

use crate::text::{is_unsafe, push_bytes};

/// Returns `bytes` as printable text. [`unescape`] reverses it.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if is_unsafe(character) => {
                    push_bytes(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
                }
                _ => text.push(character),
            }
        }
        push_bytes(chunk.invalid(), &mut text);
    }
    text
}

/// Returns the bytes that [`escape`] was given, or `None` if `text` is not its output.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                bytes.push(nibble(*high)? << 4 | nibble(*low)?);
                tail
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leaves_printable_names_unchanged() {
        assert_eq!(escape(b"kworker/0:1-ev"), "kworker/0:1-ev");
        assert_eq!(escape("größe".as_bytes()), "größe");
    }

    #[test]
    fn escapes_terminal_sequences_and_line_breaks() {
        assert_eq!(escape(b"\x1b[2Ja\n"), "\\x1b[2Ja\\x0a");
        assert_eq!(escape(b"a\xffb\\"), "a\\xffb\\\\");
        assert_eq!(escape("\u{202e}gnp".as_bytes()), "\\xe2\\x80\\xaegnp");
    }

    proptest! {
        #[test]
        fn escape_round_trips_and_is_printable(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }
    }
}
