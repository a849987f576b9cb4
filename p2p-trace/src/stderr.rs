//! Messages to stderr. They are buffered while the dashboard occupies the screen.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use p2p_trace_model::text;

/// Limit of the buffer in bytes; further output is dropped.
const MAX_HELD: usize = 64 << 10;

/// The buffered output; `None` while messages are written directly.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to buffer messages.
#[cfg(feature = "tui")]
pub(crate) fn hold() {
    held().get_or_insert_default();
}

/// Writes the buffered messages and stops buffering.
#[cfg(feature = "tui")]
pub(crate) fn release() {
    if let Some(text) = held().take() {
        // If even this fails, there is nowhere to report it.
        io::Write::write_all(&mut io::stderr(), &text).unwrap_or_default();
    }
}

#[must_use]
pub const fn writer() -> Writer {
    Writer
}

/// Writes a message as a line, with control characters escaped: it can contain untrusted text, such as that of an error.
pub fn say(message: impl fmt::Display) {
    eprintln!("{}", text::lines(&message.to_string()));
}

/// Converts messages to text in which the only escape sequences are colors.
fn safe(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\x1b');
    let mut safe = text::lines(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        safe.push_str(if is_color(part) { "\x1b" } else { "\\x1b" });
        safe.push_str(&text::lines(part));
    }
    safe
}

/// Whether the text after an escape character is a color sequence (SGR).
fn is_color(rest: &str) -> bool {
    let numbers = |text: &str| {
        text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == ';').starts_with('m')
    };
    rest.strip_prefix('[').is_some_and(numbers)
}

/// Writes to stderr, or to the buffer.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each call passes a complete message.
        let text = safe(bytes);
        let mut held = held();
        match held.as_mut() {
            Some(kept) => {
                let room = MAX_HELD.saturating_sub(kept.len()).min(text.len());
                kept.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(room)]);
            }
            None => io::Write::write_all(&mut io::stderr(), text.as_bytes())?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_everything_but_colors_and_newlines() {
        assert_eq!(safe(b"\x1b[1;31mERROR\x1b[0m a\n"), "\x1b[1;31mERROR\x1b[0m a\n");
        assert_eq!(safe(b"\x1b]0;x\x07\x1b[2J\xe2\x80\xae"), "\\x1b]0;x\\x07\\x1b[2J\\xe2\\x80\\xae");
    }
}
