//! Messages for people, on stderr; held back while the screen shows something else.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use p2p_trace_model::text;

/// Bytes that are held back at most; what is beyond is dropped.
const MAX_HELD: usize = 64 << 10;

/// `None`: nothing is held back.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds back what is written from now on.
#[cfg(feature = "tui")]
pub(crate) fn hold() {
    held().get_or_insert_default();
}

/// Writes what was held back, and holds nothing any more.
#[cfg(feature = "tui")]
pub(crate) fn release() {
    if let Some(text) = held().take() {
        // Nothing is left to do where even this cannot be written.
        io::Write::write_all(&mut io::stderr(), &text).unwrap_or_default();
    }
}

#[must_use]
pub const fn writer() -> Writer {
    Writer
}

/// Writes a message as a line. What it took from outside and did not make safe, such as the words of an error, cannot harm.
pub fn say(message: impl fmt::Display) {
    eprintln!("{}", text::lines(&message.to_string()));
}

/// Bytes of messages as text in which nothing drives a terminal but colors.
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

/// What stands behind an escape only chooses how text looks.
fn is_color(behind: &str) -> bool {
    let numbers = |text: &str| {
        text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == ';').starts_with('m')
    };
    behind.strip_prefix('[').is_some_and(numbers)
}

/// Writes to stderr, or keeps it for later.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each call brings a whole message.
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
    fn messages_have_colors_and_lines_and_nothing_else() {
        assert_eq!(safe(b"\x1b[1;31mERROR\x1b[0m a\n"), "\x1b[1;31mERROR\x1b[0m a\n");
        assert_eq!(safe(b"\x1b]0;x\x07\x1b[2J\xe2\x80\xae"), "\\x1b]0;x\\x07\\x1b[2J\\xe2\\x80\\xae");
    }
}
