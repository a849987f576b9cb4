//! Facts about the complete run, common to all views.

use std::collections::BTreeMap;

use p2p_trace_dump::Origin;
use p2p_trace_model::{
    accounting::{HookState, HookStatus, MissedQuality, SequenceQuality},
    rules::Answer,
    units::{Clock, bytes, duration},
};

use super::{phrase, story::Story};
use crate::render::{
    Context,
    check::DumpEnding,
    text::{self, Style},
    words::{self, rings},
};

/// Reasons why the record is incomplete, in sentences for the verdict.
pub(super) fn troubles(story: &Story) -> Vec<String> {
    let check = &story.check;
    let mut troubles = Vec::new();
    if check.lost > 0 {
        let lost = phrase::counted(check.lost, "record");
        troubles.push(format!("{lost} lost: see coverage."));
    }
    match check.ending {
        DumpEnding::Complete => {}
        DumpEnding::Continues => troubles.push("The run continues in a file that was not given.".to_owned()),
        DumpEnding::CutOff => {
            troubles.push("The record is incomplete: the end of the run is missing.".to_owned());
        }
    }
    if !check.damage.is_empty() {
        troubles.push("The dump is damaged: see coverage.".to_owned());
    }
    troubles
}

/// Reasons why rules are inconclusive or not checked, in full or in part, in sentences.
pub(super) fn reasons(story: &Story) -> Vec<String> {
    let several = story.devices.len() > 1;
    let mut reasons = BTreeMap::<_, Vec<&str>>::new();
    for verdict in &story.check.verdicts {
        for reason in &verdict.reasons {
            let device = several.then_some(verdict.device.0);
            let rules = reasons.entry((device, verdict.verdict, reason)).or_default();
            rules.push(verdict.rule.name());
        }
    }
    let sentence = |((device, answer, reason), rules): ((Option<_>, Answer, &String), Vec<&str>)| {
        let label = match answer {
            Answer::NotChecked => "Not checked",
            Answer::Inconclusive => "Inconclusive",
            Answer::Holds | Answer::Violated => "Partial coverage",
        };
        let device = device.map_or_else(String::new, |device| format!(" for {device}"));
        format!("{label}{device}: {}: {reason}.", rules.join(", "))
    };
    reasons.into_iter().map(sentence).collect()
}

/// The environment of the run: label and value.
pub(super) fn environment(story: &Story) -> Vec<[String; 2]> {
    let (check, status) = (&story.check, &story.status);
    let mut rows = Vec::new();
    let mut row = |label: &str, value: String| rows.push([label.to_owned(), value]);
    if let Some(host) = &check.host {
        row("host", host.clone().into());
    }
    row("kernel", check.kernel.clone().into());
    row("boot id", check.boot_id.clone().into());
    row("run", check.run.clone());
    let origin = match story.origin {
        Origin::Recorded => "recorded while tracing",
        Origin::Recovered => "recovered from a crashed kernel's memory",
    };
    row("recorded by", format!("p2p-trace {}, {origin}", check.version));
    row("from", check.start.clone());
    row("for", duration(check.duration_ns));
    row("files", check.files.join(", "));
    row("cpus", status.cpus.to_string());
    row("rings", rings(&status.rings, status.cpus));
    let methods = ["fentry", "kprobe"].map(|method| {
        let by = |hook: &&HookStatus| hook.method.is_some_and(|used| used.name() == method);
        format!("{} by {method}", status.hooks.iter().filter(by).count())
    });
    row("hooks", methods.join(", "));
    if story.redacted {
        row("redacted", "addresses, tasks, cgroups and the boot id are pseudonyms".to_owned());
    }
    for device in &status.devices {
        let mut parts = vec![device.device.to_string()];
        parts.extend(device.name.clone().map(String::from));
        parts.extend(device.driver.clone().map(String::from));
        parts.extend(device.size.map(bytes));
        row("device", parts.join(", "));
    }
    row("report by", format!("p2p-trace {}", env!("CARGO_PKG_VERSION")));
    rows
}

/// Coverage: sentences, and lines for losses.
pub(super) fn coverage(story: &Story, context: &Context<'_>) -> (Vec<String>, Vec<String>) {
    let check = &story.check;
    let mut sentences = Vec::new();
    let events = phrase::counted(check.events, "event");
    sentences.push(format!("{events} in {}, {} lost.", duration(check.duration_ns), check.lost));
    if !story.losses.is_counted {
        sentences.push("The end of the run is missing, and with it the kernel's counts.".to_owned());
    }
    let of = |state: HookState| story.status.hooks.iter().filter(move |hook| hook.state == state);
    sentences.push(format!(
        "Hooks: {} attached, {} armed (attached only while a teardown is pending), {} not on this kernel, {} failed.",
        of(HookState::Attached).count(),
        of(HookState::Armed).count(),
        of(HookState::Absent).count(),
        of(HookState::Failed).count(),
    ));
    for hook in of(HookState::Failed) {
        let error = hook.error.as_deref().unwrap_or("reason unknown");
        sentences.push(format!(
            "The hook {} could not be attached: {error}. Not observed: {}.",
            hook.hook.name(),
            hook.lost_without
        ));
    }
    for hook in of(HookState::Absent) {
        sentences.push(format!(
            "This kernel does not have the function of the hook {}. Not observed: {}.",
            hook.hook.name(),
            hook.lost_without
        ));
    }
    sentences.extend(reasons(story));
    if story.status.accounting.sequence == SequenceQuality::Partial {
        sentences.push("Losses are counted in part: this kernel has no atomic fetch-add for BPF.".to_owned());
    }
    if story.status.accounting.missed == MissedQuality::Unknown {
        sentences.push("This kernel does not report whether it skipped runs of the programs.".to_owned());
    }
    for damage in &check.damage {
        sentences.push(format!("Damaged: {damage}."));
    }
    for repeat in &check.repeats {
        sentences.push(format!("{repeat}."));
    }
    for contradiction in &story.losses.contradictions {
        sentences.push(format!("The accounting does not add up: {contradiction}."));
    }
    (sentences, lost(story, context))
}

fn lost(story: &Story, context: &Context<'_>) -> Vec<String> {
    // Formatted like all times of the report.
    let clock = Clock { utc_offset_s: 0, ..context.clock };
    let losses = &story.losses;
    let line = |loss| text::loss(loss, &clock, Style { color: false }).trim_end().to_owned();
    let mut lines: Vec<_> = losses.first.iter().map(line).collect();
    if losses.more > 0 {
        lines.push(format!("... and {} more losses", losses.more));
    }
    lines.extend(
        losses.hooks.iter().map(|hook| {
            words::account(hook.hook.name(), [hook.hits, hook.delivered, hook.lost], hook.missed)
        }),
    );
    lines
}
