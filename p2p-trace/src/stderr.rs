//! Messages on stderr. They are held back while the dashboard uses the terminal.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use p2p_trace_model::text;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format},
    registry::LookupSpan,
};

/// Bytes that are held back at most. Further bytes are dropped.
const MAX_HELD: usize = 64 << 10;

/// The messages that are held back; `None`: messages are written at once.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds back messages from now on.
#[cfg(feature = "tui")]
pub(crate) fn hold() {
    held().get_or_insert_default();
}

/// Writes the messages that were held back, and stops holding back.
#[cfg(feature = "tui")]
pub(crate) fn release() {
    if let Some(text) = held().take() {
        // A failure cannot be reported anywhere.
        io::Write::write_all(&mut io::stderr(), &text).unwrap_or_default();
    }
}

#[must_use]
pub const fn writer() -> Writer {
    Writer
}

/// Writes a message as a line, and makes unsafe characters in it harmless.
pub fn say(message: impl fmt::Display) {
    eprintln!("{}", text::lines(&message.to_string()));
}

/// The messages as text that controls a terminal only by colors.
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

/// Whether the text after an escape character selects a color or style.
fn is_color(behind: &str) -> bool {
    let numbers = |text: &str| {
        text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == ';').starts_with('m')
    };
    behind.strip_prefix('[').is_some_and(numbers)
}

/// Formats a log message like every other error of this program: `p2p-trace: …` or `p2p-trace: warning: …`. Messages of the debug
/// levels also have the time and the module.
#[derive(Clone, Copy, Debug)]
pub struct Format;

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let kind = match level {
            Level::ERROR => "",
            Level::WARN => "warning: ",
            Level::INFO => "info: ",
            _ => return format::Format::default().format_event(context, writer, event),
        };
        write!(writer, "p2p-trace: {kind}")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Writes to stderr, or holds messages back.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each call writes a complete message.
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
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn messages_keep_colors_and_lines_only() {
        assert_eq!(safe(b"\x1b[1;31mERROR\x1b[0m a\n"), "\x1b[1;31mERROR\x1b[0m a\n");
        assert_eq!(safe(b"\x1b]0;x\x07\x1b[2J\xe2\x80\xae"), "\\x1b]0;x\\x07\\x1b[2J\\xe2\\x80\\xae");
    }

    #[test]
    fn only_debug_messages_have_a_time_and_a_module() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = file.as_file().try_clone().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .event_format(Format)
            .with_max_level(LevelFilter::DEBUG)
            .with_writer(Mutex::new(output))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("cannot read {}", "a");
            tracing::warn!("{} is damaged", "a");
            tracing::info!("the next file is a.1");
            tracing::debug!("synced");
        });
        let output = std::fs::read_to_string(file.path()).unwrap();
        let (short, debug) = output.split_at(output.find("a.1\n").unwrap() + 4);
        assert_eq!(
            short,
            "p2p-trace: cannot read a\np2p-trace: warning: a is damaged\np2p-trace: info: the next file is a.1\n"
        );
        assert!(debug.contains("DEBUG p2p_trace::stderr::tests: synced"), "{debug}");
    }
}
