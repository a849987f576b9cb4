//! The last lines.

use std::fmt::Write as _;

use p2p_trace_model::units::duration;

use super::Style;
use crate::render::{
    json::SummaryLine,
    words::{account, counted},
};

/// The text of a summary.
pub(crate) fn summary(summary: &SummaryLine, style: Style) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write(&mut text, summary, style).unwrap_or_default();
    text
}

fn write(text: &mut String, summary: &SummaryLine, style: Style) -> std::fmt::Result {
    let skipped = match summary.skipped {
        0 => String::new(),
        count => format!(" ({count} skipped)"),
    };
    let lost = format!("{} lost{skipped}", summary.lost);
    let lost = if summary.lost == 0 { lost } else { style.alarm(&lost) };
    writeln!(text, "{} in {}, {lost}", counted(summary.events, "event"), duration(summary.duration_ns))?;
    for hook in summary.hooks.iter().filter(|hook| hook.lost > 0 || hook.missed.is_some_and(|runs| runs > 0))
    {
        let name = hook.function.as_deref().unwrap_or_else(|| hook.hook.name());
        let line = account(name, [hook.hits, hook.delivered, hook.lost], hook.missed);
        writeln!(text, "  {}", style.warning(&line))?;
    }
    let shortfalls = [
        (summary.notes_full, "calls could not be stored: their exits have fewer fields"),
        (summary.notes_missing, "exits without an observed entry"),
        (summary.bursts_late, "bursts of page frees are written late"),
        (summary.findings_omitted, "more findings were only counted"),
    ];
    for (count, label) in shortfalls.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(text, "  {}", style.warning(&format!("{count} {label}")))?;
    }
    for contradiction in &summary.contradictions {
        writeln!(text, "  {}", style.alarm(&format!("accounting does not add up: {contradiction}")))?;
    }
    Ok(())
}
