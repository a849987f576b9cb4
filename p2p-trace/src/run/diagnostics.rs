//! Shows diagnostics of the kernel side as log messages.

use p2p_trace_model::{
    stream::{Diagnostic, Level},
    units::Clock,
};

/// The target of the log messages.
const TARGET: &str = "kernel_side";

/// Logs them to stderr at their levels. `played` is the clock of a dump: the messages then have the time at which they were recorded.
pub(crate) fn show(diagnostics: &[Diagnostic], played: Option<Clock>) {
    for diagnostic in diagnostics {
        let text = worded(diagnostic, played);
        match diagnostic.level {
            Level::Error => tracing::error!(target: TARGET, "kernel side: {text}"),
            Level::Warn => tracing::warn!(target: TARGET, "kernel side: {text}"),
            Level::Info => tracing::info!(target: TARGET, "kernel side: {text}"),
            Level::Debug => tracing::debug!(target: TARGET, "{text}"),
            Level::Trace => tracing::trace!(target: TARGET, "{text}"),
        }
    }
}

/// The text of a message. It is limited in length, because a dump can contain anything.
fn worded(diagnostic: &Diagnostic, played: Option<Clock>) -> String {
    let end = diagnostic.text.floor_char_boundary(Diagnostic::MAX_TEXT);
    let text = &diagnostic.text[..end];
    match played {
        Some(clock) => format!("{}: {text}", clock.rfc3339(diagnostic.time_ns)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_model::testing::status::CLOCK;

    use super::*;

    #[test]
    fn a_text_is_made_safe_and_limited() {
        let of = |text: &str, played| {
            let diagnostic =
                Diagnostic { time_ns: CLOCK.boottime_ns, level: Level::Debug, text: text.into() };
            worded(&diagnostic, played)
        };
        assert_eq!(of("free: filters out 0000:03:00.0", None), "free: filters out 0000:03:00.0");
        let played = of("\x1b[2J\n", Some(CLOCK));
        assert_eq!(played, format!("{}: \\x1b[2J\\x0a", CLOCK.rfc3339(CLOCK.boottime_ns)));
        assert_eq!(of(&"a".repeat(1 << 20), None).len(), Diagnostic::MAX_TEXT);
    }
}
