//! The page of a report in a real browser, if one is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::host::{command, packages};
use crate::scenarios::product::CheckReport;

/// Seconds that the browser may take.
const PATIENCE: &str = "180";

/// Renders the page in a browser, and expects the figures of `check --json` and no error.
pub(super) fn shown(page: &Path, checked: &CheckReport) -> Result<()> {
    if !command::exists(packages::BROWSER_PROGRAM) {
        println!("    (no {}: the page is not shown)", packages::BROWSER_PROGRAM);
        return Ok(());
    }
    let page = page.canonicalize().with_context(|| format!("cannot find {}", page.display()))?;
    let profile = tempfile::tempdir().context("cannot create a folder for the browser")?;
    let output = Command::new("timeout")
        .args([PATIENCE, packages::BROWSER_PROGRAM])
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-quic"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .context("cannot run the browser")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !stderr.contains("CONSOLE"),
        "the browser reports errors on {}: {stderr}",
        page.display()
    );
    let shown = String::from_utf8_lossy(&output.stdout);
    let (findings, verdicts) = (checked.findings.len(), checked.verdicts.len());
    for (name, value) in [
        ("verdict", checked.verdict.name().to_owned()),
        ("findings", findings.to_string()),
        ("events", checked.events.to_string()),
        ("lost", checked.lost.to_string()),
    ] {
        let figure = format!("data-figure=\"{name}\">{value}</dd>");
        ensure!(shown.contains(&figure), "the browser does not show `{figure}`");
    }
    let marks = |attribute: &str| shown.matches(attribute).count();
    ensure!(
        marks("data-finding=") == findings && marks("data-rule=") == verdicts,
        "the browser shows {} findings and {} verdicts",
        marks("data-finding="),
        marks("data-rule=")
    );
    ensure!(
        shown.contains("<svg") && shown.contains("class=\"use\""),
        "the browser shows no use after the removal in the picture"
    );
    Ok(())
}
