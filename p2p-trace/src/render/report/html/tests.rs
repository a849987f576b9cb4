//! Pages made from stories.

use std::{fs, process::Command};

use p2p_trace_model::{
    event::{NoSymbols, Symbolize},
    testing::simulate::{Fault, Kernel},
};

use super::html;
use crate::render::report::samples::{by_tasks_named, context, fault, hang, story, story_with};

fn page(kernel: &Kernel) -> String {
    let story = story(&kernel.elements);
    html(&[(&story, &context(&NoSymbols))])
}

/// Checks that every element is closed, in order; returns the names of all elements.
fn elements(page: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut all = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some((text, tag)) = rest.split_once('<') {
        assert!(!text.contains('>') || open.last().is_some_and(|name| name == "style"), "{text}");
        let (tag, after) = tag.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "<{tag}>");
        let parts: Vec<_> = tag.split('"').collect();
        assert_eq!(parts.len() % 2, 1, "<{tag}>");
        for attribute in parts.iter().step_by(2).flat_map(|part| part.split_whitespace()).skip(1) {
            let loads = ["on", "src", "href", "style"].iter().any(|&start| attribute.starts_with(start));
            assert!(!loads, "<{tag}>");
        }
        all.push(name.clone());
        if name != "meta" {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn pages_are_well_formed_and_self_contained() {
    let mut kernels: Vec<_> = Fault::ALL.into_iter().map(fault).collect();
    kernels.push(hang());
    kernels.push(Kernel::new(1));
    for kernel in kernels {
        let page = page(&kernel);
        let elements = elements(&page);
        for name in ["script", "link", "img", "iframe", "object", "base", "form"] {
            assert!(!elements.iter().any(|element| element == name), "{name}");
        }
        for text in ["http:", "https:", "url(h", "@import", "javascript:"] {
            assert!(!page.contains(text), "{text}");
        }
    }
}

/// A name that contains markup.
struct Hostile;

const HOSTILE: &str = "</script><script>alert('x')</script>\" onload=\"x&";

impl Symbolize for Hostile {
    fn symbolize(&self, _address: u64) -> Option<p2p_trace_model::text::Text> {
        Some(HOSTILE.into())
    }
}

#[test]
fn names_are_escaped() {
    let kernel = by_tasks_named(b"</text><img src=");
    let story = story_with(&kernel.elements, &Hostile);
    let page = html(&[(&story, &context(&Hostile))]);
    let all = elements(&page);
    assert_eq!(all, elements(&self::page(&fault(Fault::RemovedFirst))));
    assert!(page.contains("&lt;/text&gt;&lt;img src="));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;x&amp;"));
}

#[test]
fn use_after_removal_has_shape_and_label() {
    let page = page(&fault(Fault::RemovedFirst));
    assert!(page.contains("class=\"use\""));
    assert!(page.contains("<text class=\"alarm\"") || page.contains("<text class=\"alarm end\""));
    assert!(page.contains("USE AFTER REMOVAL: free +3.0 ms, by tasko (pid 92)"));
    assert!(page.contains("BEFORE its drain") && page.contains("AFTER the removal"));
}

#[test]
fn numbers_match_check() {
    for kind in Fault::ALL {
        let story = story(&fault(kind).elements);
        let page = html(&[(&story, &context(&NoSymbols))]);
        let check = &story.check;
        let figure = |name: &str, value: String| {
            let wanted = format!("<dd data-figure=\"{name}\">{value}</dd>");
            assert!(page.contains(&wanted), "{kind:?}: {wanted}");
        };
        figure("verdict", check.verdict.name().to_owned());
        figure("findings", check.findings.len().to_string());
        figure("events", check.events.to_string());
        figure("lost", check.lost.to_string());
        for verdict in &check.verdicts {
            let rule = format!("data-rule=\"{} {}\"", verdict.device.0, verdict.rule.name());
            let (_, cell) = page.split_once(&rule).unwrap();
            let (cell, _) = cell.split_once("</td>").unwrap();
            let word = crate::render::report::phrase::loud(verdict.verdict);
            assert!(cell.ends_with(&format!("{word}</span>")), "{cell}");
        }
    }
}

/// Loads the page in a browser: Debian's package is `chromium`.
#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn browser_shows_the_page_without_errors() {
    let dir = tempfile::tempdir().unwrap();
    let story = story(&fault(Fault::RemovedFirst).elements);
    let file = dir.path().join("page.html");
    fs::write(&file, html(&[(&story, &context(&NoSymbols))])).unwrap();
    let output = Command::new("timeout")
        .args(["120", "chromium"])
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("CONSOLE"), "{stderr}");
    let dom = String::from_utf8(output.stdout).unwrap();
    let check = &story.check;
    for (name, value) in [
        ("verdict", check.verdict.name().to_owned()),
        ("findings", check.findings.len().to_string()),
        ("events", check.events.to_string()),
        ("lost", check.lost.to_string()),
    ] {
        assert!(dom.contains(&format!("data-figure=\"{name}\">{value}</dd>")), "{name}: {dom}");
    }
    let findings = dom.matches("data-finding=").count();
    assert_eq!((findings, dom.matches("data-rule=").count()), (check.findings.len(), check.verdicts.len()));
    assert!(dom.contains("<svg") && dom.contains("class=\"use\""), "{dom}");
}
