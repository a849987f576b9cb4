//! What has to come out of the memory of a dead kernel.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use super::host::{Recovered, judged, text};
use super::{Guilty, browser};
use crate::scenarios::product::{Answer, CheckReport, EventLine, address};
use crate::scenarios::stream::Stream;

/// What is violated.
const RULES: [&str; 2] = ["removed-before-drained", "use-after-removal"];

/// Expects everything that the kernel side had begun, and both verdicts with whoever did it.
pub(super) fn complete(recovered: &Recovered, guilty: &Guilty, card: &str) -> Result<()> {
    let Recovered { stream, said, .. } = recovered;
    let all = said.iter().any(|line| line.contains("each of them is here"));
    ensure!(all, "not every record that the kernel side had begun was recovered");
    self::guilty(stream, guilty, card)?;
    let alloc = stream.of_kind("alloc").find(|event| event.tgid == Some(guilty.allocated.pid));
    ensure!(alloc.is_some(), "who took the memory is not in the core");
    Ok(())
}

/// Expects both verdicts, and the last map as that of whoever did it.
pub(super) fn guilty(stream: &Stream, guilty: &Guilty, card: &str) -> Result<()> {
    let remove = stream.first("remove")?;
    let Some(used) = stream.events.iter().rfind(|event| event.kind.name() == "map") else {
        bail!("the map that killed the kernel is not in the core");
    };
    let EventLine { pid, comm, caller, time_ns, .. } = used;
    ensure!(
        *time_ns > remove.time_ns
            && *pid == Some(guilty.pid)
            && comm.as_deref() == Some("sh")
            && caller.is_some(),
        "the last map is {used:?}, not that of {guilty:x?}"
    );
    ensure!(used.page.is_some() || used.phys.is_some(), "the map has no page: {used:?}");
    ensure!(address(used.device).as_deref() == Some(card), "the map is not known to be of {card}: {used:?}");
    for rule in RULES {
        let verdict = stream.verdict(card, rule)?;
        ensure!(verdict.verdict == Answer::Violated, "{rule} is {verdict:?}");
    }
    Ok(())
}

/// Expects that who took the memory is named, though the record of that is overwritten, and nobody else.
pub(super) fn holder_is_named(recovered: &Recovered, guilty: &Guilty, card: &str, slots: u32) -> Result<()> {
    let Recovered { stream, said, .. } = recovered;
    let begins_late = said.iter().any(|line| line.contains("do not reach back to the beginning"));
    ensure!(begins_late, "it was not overwritten");
    let begun =
        said.iter().find_map(|line| line.strip_prefix("the kernel side had begun ")?.split(' ').next());
    let begun: u32 = begun.context("how much was written is not said")?.parse()?;
    ensure!(begun >= 10 * slots, "{begun} records do not fill {slots} slots ten times");
    self::guilty(stream, guilty, card)?;
    let pid = guilty.allocated.pid;
    ensure!(
        !stream.of_kind("alloc").any(|event| event.tgid == Some(pid)),
        "the record of the allocation is still in the ring: nothing is shown"
    );
    let finding = stream
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "removed-before-drained")
        .context("there is no finding of the removal")?;
    let [holder] = finding.holders.as_slice() else { bail!("the finding has not one holder: {finding:?}") };
    ensure!(
        holder.tgid == Some(pid) && holder.bytes == guilty.allocated.size && holder.references == 1,
        "{holder:?} is not {guilty:x?}"
    );
    let pid = format!("pid {pid}");
    ensure!(recovered.checked.iter().any(|line| line.contains(&pid)), "check does not name {pid}");
    let report = judged(&["report", &text(&recovered.dump)])?;
    ensure!(report.iter().any(|line| line.contains(&pid)), "the report does not name {pid}");
    Ok(())
}

/// Expects the same events behind a recorded dump as out of the core alone, which has all of them, and each once.
pub(super) fn same_events(alone: &Recovered, behind: &Recovered) -> Result<()> {
    ensure!(behind.said.iter().any(|line| line.contains("recorded ones")), "nothing was recorded before");
    let ids = |recovered: &Recovered| -> Vec<_> {
        let events = recovered.stream.events.iter();
        let mut ids: Vec<_> = events.map(|event| event.id.0).collect();
        ids.sort_unstable();
        ids
    };
    let (alone, behind) = (ids(alone), ids(behind));
    let unique: BTreeSet<_> = behind.iter().collect();
    ensure!(
        unique.len() == behind.len(),
        "{} of {} events are there twice",
        behind.len() - unique.len(),
        behind.len()
    );
    ensure!(
        alone == behind,
        "the core alone has {} events, behind the recorded dump there are {}",
        alone.len(),
        behind.len()
    );
    Ok(())
}

/// Expects of the report, as Markdown and as a page, the figures of `check --json`.
pub(super) fn reported(recovered: &Recovered) -> Result<()> {
    let dump = text(&recovered.dump);
    let checked = judged(&["check", "--json", &dump])?.join("");
    let checked: CheckReport =
        serde_json::from_str(&checked).context("what check says is not what its schema says")?;
    let findings = &checked.findings;
    let mail = judged(&["report", &dump])?;
    let verdict = checked.verdict.name().to_uppercase();
    let title = mail.first().map_or("", String::as_str);
    ensure!(
        title.starts_with("# ") && title.ends_with(&format!(": {verdict}")),
        "`{title}` is not {verdict}"
    );
    let counted = format!("## Findings: {}", findings.len());
    ensure!(mail.contains(&counted), "the report has no line `{counted}`");
    let page = recovered.dump.with_extension("html");
    judged(&["report", "--html", &text(&page), "--force", &dump])?;
    let html = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    ensure!(!html.contains("src=\"http") && !html.contains("href=\"http"), "the page needs the network");
    browser::shown(&page, &checked)?;
    let (mail, html) = (words(&mail.join(" ")), words(&plain(&html)));
    for finding in findings {
        let rule = finding.rule.name();
        let heading = format!("({}), {}", finding.severity.name(), finding.device.0);
        let message = words(&finding.message);
        ensure!(
            mail.contains(&words(&heading)) && mail.contains(rule),
            "{heading} of {rule} is not in the report"
        );
        ensure!(mail.contains(&message), "`{message}` is not in the report");
        ensure!(html.contains(&message), "`{message}` is not on the page");
    }
    Ok(())
}

/// Without tags and entities.
fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, rest)| rest));
        text.push(' ');
    }
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text, |text, (entity, letter)| text.replace(entity, letter))
}

/// Words, one space apart, in small letters: a report wraps lines and begins a sentence with a capital.
fn words(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
