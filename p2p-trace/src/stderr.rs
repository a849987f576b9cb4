//! Messages for people, on stderr; held back while the screen shows something else.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

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

/// Writes to stderr, or keeps it for later.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = held();
        match held.as_mut() {
            Some(text) => {
                let room = MAX_HELD.saturating_sub(text.len()).min(bytes.len());
                text.extend_from_slice(&bytes[..room]);
                Ok(bytes.len())
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
