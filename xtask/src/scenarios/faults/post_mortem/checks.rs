//! Expectations on the data from the memory of a dead kernel.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use super::host::{Recovered, text, violated};
use super::{FatalUse, browser};
use crate::scenarios::product::{Answer, CheckReport, EventLine, address};
use crate::scenarios::stream::Stream;

/// The violated rules.
const RULES: [&str; 2] = ["removed-before-drained", "use-after-removal"];

/// Expects every record that the kernel side had started, and both verdicts with the responsible process.
pub(super) fn complete(recovered: &Recovered, fatal: &FatalUse, card: &str) -> Result<()> {
    let Recovered { stream, messages, .. } = recovered;
    let all = messages.iter().any(|line| line.contains("all are in the dump"));
    ensure!(all, "some records that the kernel side had started were not recovered");
    has_fatal_use(stream, fatal, card)?;
    let alloc = stream.of_kind("alloc").find(|event| event.tgid == Some(fatal.allocated.pid));
    ensure!(alloc.is_some(), "the allocation is not in the core");
    Ok(())
}

/// Expects both verdicts, and the fatal mapping as the last one.
pub(super) fn has_fatal_use(stream: &Stream, fatal: &FatalUse, card: &str) -> Result<()> {
    let remove = stream.first("remove")?;
    let Some(used) = stream.events.iter().rfind(|event| event.kind.name() == "map") else {
        bail!("the map that killed the kernel is not in the core");
    };
    let EventLine { pid, comm, caller, time_ns, .. } = used;
    ensure!(
        *time_ns > remove.time_ns
            && *pid == Some(fatal.pid)
            && comm.as_deref() == Some("sh")
            && caller.is_some(),
        "the last map is {used:?}, not that of {fatal:x?}"
    );
    ensure!(used.page.is_some() || used.phys.is_some(), "the map has no page: {used:?}");
    ensure!(address(used.device).as_deref() == Some(card), "the map is not attributed to {card}: {used:?}");
    for rule in RULES {
        let verdict = stream.verdict(card, rule)?;
        ensure!(verdict.verdict == Answer::Violated, "{rule}: {verdict:?}");
    }
    Ok(())
}

/// Expects the finding to name exactly the task that allocated the memory, although the record of the
/// allocation is overwritten.
pub(super) fn holder_is_named(recovered: &Recovered, fatal: &FatalUse, card: &str, slots: u32) -> Result<()> {
    let Recovered { stream, messages, .. } = recovered;
    let begins_late = messages.iter().any(|line| line.contains("do not reach back to the beginning"));
    ensure!(begins_late, "the rings were not overwritten");
    let started =
        messages.iter().find_map(|line| line.strip_prefix("the kernel side had started ")?.split(' ').next());
    let started: u32 = started.context("recover does not print the number of records")?.parse()?;
    ensure!(started >= 10 * slots, "{started} records do not fill {slots} slots ten times");
    has_fatal_use(stream, fatal, card)?;
    let pid = fatal.allocated.pid;
    ensure!(
        !stream.of_kind("alloc").any(|event| event.tgid == Some(pid)),
        "the record of the allocation is still in the ring, so that the test shows nothing"
    );
    let finding = stream
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "removed-before-drained")
        .context("there is no finding of the removal")?;
    let [holder] = finding.holders.as_slice() else {
        bail!("the finding does not have exactly one holder: {finding:?}")
    };
    ensure!(
        holder.tgid == Some(pid) && holder.bytes == fatal.allocated.size && holder.references == 1,
        "{holder:?} is not {fatal:x?}"
    );
    let pid = format!("pid {pid}");
    ensure!(recovered.checked.iter().any(|line| line.contains(&pid)), "check does not name {pid}");
    let report = violated(&["report", &text(&recovered.dump)])?;
    ensure!(report.iter().any(|line| line.contains(&pid)), "the report does not name {pid}");
    Ok(())
}

/// Expects the same events with the recorded dump as from the core alone: all of them, and each once.
pub(super) fn same_events(alone: &Recovered, joined: &Recovered) -> Result<()> {
    ensure!(
        joined.messages.iter().any(|line| line.contains("recorded ones")),
        "the recorded dump adds no events"
    );
    let ids = |recovered: &Recovered| -> Vec<_> {
        let events = recovered.stream.events.iter();
        let mut ids: Vec<_> = events.map(|event| event.id.0).collect();
        ids.sort_unstable();
        ids
    };
    let (alone, joined) = (ids(alone), ids(joined));
    let unique: BTreeSet<_> = joined.iter().collect();
    ensure!(
        unique.len() == joined.len(),
        "{} of {} events occur twice",
        joined.len() - unique.len(),
        joined.len()
    );
    ensure!(
        alone == joined,
        "the core alone has {} events, together with the recorded dump there are {}",
        alone.len(),
        joined.len()
    );
    Ok(())
}

/// Expects the figures of `check --json` in the report, both as Markdown and as HTML.
pub(super) fn check_report(recovered: &Recovered) -> Result<()> {
    let dump = text(&recovered.dump);
    let checked = violated(&["check", "--json", &dump])?.join("");
    let checked: CheckReport =
        serde_json::from_str(&checked).context("the output of check does not match its schema")?;
    let findings = &checked.findings;
    let markdown = violated(&["report", &dump])?;
    let verdict = checked.verdict.name().to_uppercase();
    let title = markdown.first().map_or("", String::as_str);
    ensure!(
        title.starts_with("# ") && title.ends_with(&format!(": {verdict}")),
        "the title `{title}` does not state {verdict}"
    );
    let counted = format!("## Findings: {}", findings.len());
    ensure!(markdown.contains(&counted), "the report has no line `{counted}`");
    let page = recovered.dump.with_extension("html");
    violated(&["report", "--html", &text(&page), "--force", &dump])?;
    let html = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    ensure!(
        !html.contains("src=\"http") && !html.contains("href=\"http"),
        "the page loads files from the network"
    );
    browser::shown(&page, &checked)?;
    let (markdown, html) = (words(&markdown.join(" ")), words(&plain(&html)));
    for finding in findings {
        let rule = finding.rule.name();
        let heading = format!("({}), {}", finding.severity.name(), finding.device.0);
        let message = words(&finding.message);
        ensure!(
            markdown.contains(&words(&heading)) && markdown.contains(rule),
            "{heading} of {rule} is not in the report"
        );
        ensure!(markdown.contains(&message), "`{message}` is not in the report");
        ensure!(html.contains(&message), "`{message}` is not on the page");
    }
    Ok(())
}

/// The text without tags and entities.
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

/// The words in lower case, separated by one space: a report wraps lines and capitalizes sentences.
fn words(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
