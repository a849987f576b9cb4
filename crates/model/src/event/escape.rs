//! Names that the kernel gives as bytes, as text that neither loses a byte nor drives a terminal.
//!
//! A task chooses its own `comm`: it may hold escape sequences, line breaks or broken UTF-8. Printable
//! text stays as it is; a backslash is doubled, and every other byte becomes `\xNN`.

use crate::text::{is_unsafe, push_bytes};

/// `bytes` as printable text. [`unescape`] leads back.
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

/// The bytes that [`escape`] was given, or `None` where `text` is not its work.
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
    fn printable_names_stay_as_they_are() {
        assert_eq!(escape(b"kworker/0:1-ev"), "kworker/0:1-ev");
        assert_eq!(escape("größe".as_bytes()), "größe");
    }

    #[test]
    fn terminal_sequences_and_line_breaks_are_visible() {
        assert_eq!(escape(b"\x1b[2Ja\n"), "\\x1b[2Ja\\x0a");
        assert_eq!(escape(b"a\xffb\\"), "a\\xffb\\\\");
        assert_eq!(escape("\u{202e}gnp".as_bytes()), "\\xe2\\x80\\xaegnp");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_nothing_unprintable_is_left(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }
    }
}
