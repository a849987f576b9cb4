//! The results of the rules, per device.

use std::fmt::{self, Write as _};

use p2p_trace_model::{
    event::DeviceAddress,
    rules::{Answer, Verdict},
};

use super::Style;
use crate::render::words::counted;

/// Width of an answer.
const ANSWER: usize = 14;

/// The text of all verdicts, per device: violated, inconclusive, not checked, holds.
pub(crate) fn verdicts(verdicts: &[Verdict], style: Style) -> String {
    let mut text = String::new();
    let mut devices: Vec<_> = verdicts.iter().map(|verdict| verdict.device).collect();
    devices.dedup();
    for device in devices {
        let of_device: Vec<_> = verdicts.iter().filter(|verdict| verdict.device == device).collect();
        // Writing to a string does not fail.
        write(&mut text, device, &of_device, style).unwrap_or_default();
    }
    text
}

fn write(text: &mut String, device: DeviceAddress, verdicts: &[&Verdict], style: Style) -> fmt::Result {
    writeln!(text, "{}", style.strong(&format!("rules for {device}")))?;
    for verdict in verdicts.iter().filter(|verdict| verdict.answer == Answer::Violated) {
        let (rule, count) = (verdict.rule.spec(), verdict.findings);
        let line = format!(
            "{} ({}), {}: {}",
            rule.name,
            rule.severity.name(),
            counted(count.into(), "finding"),
            rule.title
        );
        line_of(text, "VIOLATED", Style::alarm, &line, style)?;
    }
    for group in groups(verdicts, Answer::Inconclusive) {
        line_of(text, "inconclusive", Style::warning, &group, style)?;
    }
    let unchecked = groups(verdicts, Answer::NotChecked);
    if !unchecked.is_empty() {
        line_of(text, "not checked", plain, &unchecked.join("; "), style)?;
    }
    let (whole, part): (Vec<_>, Vec<_>) = verdicts
        .iter()
        .filter(|verdict| verdict.answer == Answer::Holds)
        .partition(|verdict| verdict.reasons.is_empty());
    if !part.is_empty() {
        let part = groups(&part, Answer::Holds).join("; ");
        line_of(text, "holds (partial coverage)", plain, &part, style)?;
    }
    if !whole.is_empty() {
        let names: Vec<_> = whole.iter().map(|verdict| verdict.rule.name()).collect();
        line_of(text, "holds", plain, &names.join(", "), style)?;
    }
    Ok(())
}

fn line_of(
    text: &mut String,
    answer: &str,
    paint: fn(Style, &str) -> String,
    line: &str,
    style: Style,
) -> fmt::Result {
    writeln!(text, "  {} {line}", paint(style, &format!("{answer:ANSWER$}")))
}

fn plain(_style: Style, text: &str) -> String {
    text.to_owned()
}

/// The rules of an answer, grouped by their reasons.
fn groups(verdicts: &[&Verdict], answer: Answer) -> Vec<String> {
    let mut groups: Vec<(&[String], Vec<&str>)> = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.answer == answer) {
        let known = groups.iter_mut().find(|(reasons, _)| *reasons == verdict.reasons);
        match known {
            Some((_, rules)) => rules.push(verdict.rule.name()),
            None => groups.push((&verdict.reasons, vec![verdict.rule.name()])),
        }
    }
    let line = |(reasons, rules): (&[String], Vec<&str>)| {
        let why = if reasons.is_empty() { "reason unknown".to_owned() } else { reasons.join(", ") };
        format!("{} ({why})", rules.join(", "))
    };
    groups.into_iter().map(line).collect()
}
