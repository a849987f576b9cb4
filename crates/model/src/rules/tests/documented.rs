//! Tests that compare the generated parts of `docs/rules.md` and `docs/hooks.md` with the tables in the code.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use p2p_trace_common::Hook;

use super::super::rule::{RuleId, Spec, TABLE};
use crate::{
    event::{SkipRow, names::ring_name},
    state::Limit,
};

fn names(hooks: &[Hook], last: &str) -> String {
    let mut names: Vec<_> = hooks.iter().map(|hook| format!("`{}`", hook.name())).collect();
    let end = names.pop().unwrap();
    if names.is_empty() { end } else { format!("{} {last} {end}", names.join(", ")) }
}

/// The generated paragraph of a rule: severity, violation, and dependencies.
fn needs(spec: &Spec) -> String {
    let title = spec.title;
    let needs: Vec<_> = spec.needs.iter().map(|group| names(group, "or")).collect();
    let rings: Vec<_> = spec.rings.iter().map(|&ring| ring_name(ring)).collect();
    let mut text = format!("**{}**: {title}. Hooks: {}", spec.severity.name(), needs.join("; "));
    if spec.throughout {
        text += ", attached throughout";
    }
    if !spec.parts.is_empty() {
        write!(text, ". More is seen with {}", names(spec.parts, "and")).unwrap();
    }
    let rings = rings.join(" or ");
    writeln!(text, ". A loss of {rings} records makes it inconclusive. It never sees {}.", spec.never)
        .unwrap();
    text
}

/// `P2P_TRACE_BLESS=1 cargo test` regenerates the paragraphs.
#[test]
fn document_describes_every_rule() {
    let path = docs("rules.md");
    let committed = fs::read_to_string(&path).unwrap();
    let mut text = committed.clone();
    for spec in TABLE {
        let name = spec.name;
        assert_eq!(committed.matches(&format!("\n## `{name}`\n")).count(), 1, "{name}");
        assert_eq!(committed.matches(&format!("<!-- example: {name} -->\n")).count(), 1, "{name}");
        let open = format!("<!-- needs: {name} -->\n");
        let start = text.find(&open).unwrap() + open.len();
        let end = start + text[start..].find("<!-- end needs -->").unwrap();
        text.replace_range(start..end, &needs(spec));
    }
    bless_or_compare(&path, &committed, &text);
    let sections = committed.matches("\n## `").count();
    assert_eq!(sections, TABLE.len(), "a section is of no rule");
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn bless_or_compare(path: &Path, committed: &str, text: &str) {
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::write(path, text).unwrap();
    } else {
        assert!(committed == text, "{} is not up to date: P2P_TRACE_BLESS=1 cargo test", path.display());
    }
}

/// The table of limits.
fn limits() -> String {
    let mut table = String::from("| limit | of | inconclusive beyond it |\n|---|---|---|\n");
    for limit in Limit::ALL {
        let touched: Vec<_> = RuleId::all().filter(|&rule| limit.touches(rule)).collect();
        let is_all = touched.len() == TABLE.len();
        let names: Vec<_> = touched.iter().map(|rule| format!("`{}`", rule.name())).collect();
        let all = if limit == Limit::Ranges { "all rules" } else { "all rules, for every device" };
        let rules = if is_all { all.to_owned() } else { names.join(", ") };
        writeln!(table, "| {} | {} | {rules} |", limit.most(), limit.description()).unwrap();
    }
    table
}

/// `P2P_TRACE_BLESS=1 cargo test` regenerates the table.
#[test]
fn document_lists_every_limit() {
    let path = docs("rules.md");
    let committed = fs::read_to_string(&path).unwrap();
    let open = "<!-- limits -->\n";
    let start = committed.find(open).unwrap() + open.len();
    let end = start + committed[start..].find("<!-- end limits -->").unwrap();
    let mut text = committed.clone();
    text.replace_range(start..end, &limits());
    bless_or_compare(&path, &committed, &text);
}

/// The table of effects of a skipped run, by hook.
fn skips() -> String {
    let mut table =
        String::from("| hook | records | rules | of which devices | how long |\n|---|---|---|---|---|\n");
    for &hook in Hook::ALL {
        let row = SkipRow::of(hook);
        let list = |names: Vec<&str>| {
            let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let records = list(row.records.iter().map(|kind| kind.name()).collect());
        let rules = list(RuleId::hidden_by(hook).map(RuleId::name).collect());
        let (devices, until) = (row.affected.devices(), row.affected.until());
        writeln!(table, "| `{}` | {records} | {rules} | {devices} | {until} |", hook.name()).unwrap();
    }
    table
}

/// `P2P_TRACE_BLESS=1 cargo test` regenerates the table.
#[test]
fn document_lists_effects_of_skipped_runs() {
    let path = docs("hooks.md");
    let committed = fs::read_to_string(&path).unwrap();
    let open = "<!-- skips -->\n";
    let start = committed.find(open).unwrap() + open.len();
    let end = start + committed[start..].find("<!-- end skips -->").unwrap();
    let mut text = committed.clone();
    text.replace_range(start..end, &skips());
    bless_or_compare(&path, &committed, &text);
}
