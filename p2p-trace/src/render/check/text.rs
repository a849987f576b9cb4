//! The result of a check as text.

use std::fmt::{self, Write as _};

use p2p_trace_dump::End;
use p2p_trace_model::{rules::Answer, units::duration};

use crate::{
    render::{
        Context,
        text::{self, Style},
    },
    run::evaluate::Outcome,
};

/// The text of one run: the answer first.
pub(crate) fn text(outcome: &Outcome, context: &Context<'_>, style: Style) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write(&mut text, outcome, context, style).unwrap_or_default();
    text
}

fn write(text: &mut String, outcome: &Outcome, context: &Context<'_>, style: Style) -> fmt::Result {
    let answer = match outcome.answer {
        Answer::Violated => style.alarm("VIOLATED"),
        Answer::Inconclusive => style.warning("inconclusive"),
        Answer::Holds | Answer::NotChecked => style.strong("holds"),
    };
    let (header, closing) = (&outcome.header, &outcome.closing);
    writeln!(text, "{answer}  {}", outcome.files.join(", "))?;
    let host = header.host.as_deref().map_or(String::new(), |host| format!("{host}, "));
    writeln!(
        text,
        "  {host}Linux {}, from {} on, {}: {} events, {} lost",
        header.status.kernel,
        context.clock.rfc3339(header.start_ns),
        duration(outcome.duration_ns),
        closing.outcome.events,
        closing.outcome.lost,
    )?;
    let end = match outcome.end {
        End::Complete(_) => None,
        End::Continues => Some("the run continues in a file that was not given"),
        End::CutOff => Some("the end of the run is missing"),
    };
    for damage in outcome.damage.iter().map(String::as_str).chain(end) {
        writeln!(text, "  {}", style.warning(damage))?;
    }
    for repeat in &outcome.repeats {
        writeln!(text, "  {repeat}")?;
    }
    let options = text::Options { style, stacks: false };
    for finding in &outcome.findings {
        let reported_ns = finding.end_ns.unwrap_or(closing.ended_ns);
        text.push_str(&text::finding(finding, reported_ns, context, options));
    }
    for finding in &outcome.withdrawn {
        text.push_str(&text::changed(finding, closing.ended_ns, context, options));
    }
    if closing.omitted > 0 {
        writeln!(text, "  {} more findings are only counted", closing.omitted)?;
    }
    text.push_str(&text::verdicts(&closing.verdicts, style));
    Ok(())
}
