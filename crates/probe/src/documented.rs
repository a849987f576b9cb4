//! Checks `docs/hooks.md` against the hook table: the document's table is generated from the code.

use std::{env, fmt::Write as _, fs, path::Path};

use p2p_trace_common::Hook;

use crate::hook_table::{Need, Point, Row};

const OPEN: &str = "<!-- table -->\n";
const CLOSE: &str = "<!-- end table -->";

/// One row per hook, by number: the life of a range from its creation to its end, then the armed hooks.
fn table() -> String {
    let mut table = String::from(
        "| hook | function | point | need | attached | lost without it |\n|---|---|---|---|---|---|\n",
    );
    for &hook in Hook::ALL {
        let row = Row::of(hook).unwrap();
        let functions: Vec<_> = row.functions.iter().map(|name| format!("`{name}`")).collect();
        let point = match row.point {
            Point::Entry => "entry",
            Point::Exit => "exit",
        };
        let (need, attached) = match row.need {
            Need::Required => ("required", "yes"),
            Need::Optional => ("optional", "yes"),
            Need::OnRequest => ("on request", "with `--hook`"),
            Need::ArmedOrNamed => ("armed", "during teardowns; throughout with `--hook`"),
            Need::Armed => ("armed", "during teardowns"),
        };
        writeln!(
            table,
            "| `{}` | {} | {point} | {need} | {attached} | {} |",
            hook.name(),
            functions.join(", else "),
            row.lost_without
        )
        .unwrap();
    }
    table
}

/// `P2P_TRACE_BLESS=1 cargo test` regenerates the table.
#[test]
fn hooks_md_matches_the_hook_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hooks.md");
    let committed = fs::read_to_string(&path).unwrap();
    let start = committed.find(OPEN).unwrap() + OPEN.len();
    let end = start + committed[start..].find(CLOSE).unwrap();
    let mut text = committed.clone();
    text.replace_range(start..end, &table());
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(committed == text, "docs/hooks.md is not up to date: P2P_TRACE_BLESS=1 cargo test");
    }
}
