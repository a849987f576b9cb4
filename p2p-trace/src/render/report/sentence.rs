//! The verdict on a device in one sentence.

use p2p_trace_model::{
    event::DeviceAddress,
    rules::Answer,
    units::{bytes, duration},
};

use super::{
    phrase,
    story::{DeviceStory, Out, TeardownStory},
};
use crate::render::check::CheckReport;

/// The worst answer of the rules for a device.
pub(super) fn answer(device: DeviceAddress, check: &CheckReport) -> Answer {
    let of = check.verdicts.iter().filter(|verdict| verdict.device.0 == device);
    let answers: Vec<_> = of.map(|verdict| verdict.verdict).collect();
    for answer in [Answer::Violated, Answer::Inconclusive, Answer::Holds] {
        if answers.contains(&answer) {
            return answer;
        }
    }
    Answer::NotChecked
}

/// The result for a device, in a self-contained sentence.
pub(super) fn sentence(story: &DeviceStory, check: &CheckReport) -> String {
    let teardowns = teardowns(story);
    match story.answer {
        Answer::Violated => violated(story, check),
        Answer::Holds => format!("every rule that was checked holds; {teardowns}"),
        Answer::Inconclusive => {
            let of = check.verdicts.iter().filter(|verdict| verdict.device.0 == story.device);
            let open: Vec<_> = of.filter(|verdict| verdict.verdict == Answer::Inconclusive).collect();
            let why = open
                .first()
                .and_then(|verdict| verdict.reasons.first())
                .map_or_else(String::new, |why| format!(" ({why})"));
            let rules = phrase::counted(open.len() as u64, "rule");
            format!("no violation was found, but {rules} may have missed one{why}; {teardowns}")
        }
        Answer::NotChecked => format!("no rule could be checked; {teardowns}"),
    }
}

fn violated(story: &DeviceStory, check: &CheckReport) -> String {
    let of = || check.findings.iter().filter(|finding| finding.device.0 == story.device);
    // The first of the most severe: later findings often follow from it.
    let worst = of().map(|finding| finding.severity).max();
    let first = of().find(|finding| Some(finding.severity) == worst);
    let Some(first) = first else {
        return "a violation was found in a part of the run that is not in this dump".to_owned();
    };
    let more = of().count() - 1;
    let more = match more {
        0 => String::new(),
        more => format!("; {}", phrase::counted(more as u64, "more finding")),
    };
    format!("{}: {}{more}", first.rule.name(), first.message)
}

fn teardowns(story: &DeviceStory) -> String {
    let count = story.teardowns.len() as u64 + story.teardowns_omitted;
    let Some(last) = story.teardowns.last() else {
        return format!("no teardown was observed, and {} at the end", held(&story.out, "was outstanding"));
    };
    let longest = story.teardowns.iter().max_by_key(|teardown| teardown.longest_drain()).unwrap_or(last);
    if let Some((step, since_ns)) = &last.pending {
        let age = duration(last.until_ns.saturating_sub(*since_ns));
        return format!("the end of a teardown was not observed: {step}, for {age}{}", waits_for(last));
    }
    let observed = phrase::counted(count, "teardown");
    let missing = |story: &TeardownStory| story.teardown.steps_may_be_missing();
    let order = if !story.teardowns.iter().all(TeardownStory::is_in_order) {
        "not in order"
    } else if story.teardowns.iter().any(missing) {
        "in order as far as observed"
    } else {
        "in order"
    };
    let drain = longest.longest_drain().map_or_else(String::new, |drain| {
        format!(", {} from kill to drain{}", duration(drain), waits_for(longest))
    });
    let at_most = if count > 1 && !drain.is_empty() { ", at most" } else { "" };
    format!("{observed} {order}{at_most}{drain}").replace(", at most, ", ", at most ")
}

/// The outstanding memory at the kill.
fn waits_for(teardown: &TeardownStory) -> String {
    teardown
        .at_kill
        .as_ref()
        .filter(|out| out.references > 0 || out.unknown_bytes > 0)
        .map_or_else(String::new, |out| format!(", while {}", held(out, "was outstanding")))
}

/// `64 KiB allocated by p2pdio (pid 97) was outstanding`.
fn held(out: &Out, verb: &str) -> String {
    if let Some(first) = out.holders.first() {
        let more = out.holders.len() as u64 - 1 + out.more;
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} allocated by {}{more} {verb}", bytes(out.bytes), phrase::task(first.task.as_ref()))
    } else if out.unknown_bytes > 0 {
        format!("{} of unknown holders {verb}", bytes(out.unknown_bytes))
    } else {
        format!("no observed allocation {verb}")
    }
}
