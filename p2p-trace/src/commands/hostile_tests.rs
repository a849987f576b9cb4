//! Malicious dumps in every output: no text of a dump controls a terminal, forges a line or hides text.

use std::{fs, path::Path};

use p2p_trace_common::record::COMM_LEN;
use p2p_trace_dump::{hostile, samples};
use p2p_trace_model::{rules::Severity, text};
use proptest::prelude::*;

use super::{check, replay, report};
use crate::{
    cli::ReportArgs,
    render::{Format, text as lines, text::Style},
    run::{dumps, stop::Stop},
    tui,
};

/// The marker in the texts. Lines of the outputs must not begin with it.
const MARK: &str = "FORGED";

fn outputs(path: &Path) -> Vec<(&'static str, String)> {
    let checked = |json| {
        let options = check::Options {
            json,
            style: Style { color: false },
            fail_on: Severity::Medium,
            stall_after: None,
        };
        let (runs, errors) = dumps::open(&[path]);
        let errors: Vec<_> = errors.iter().map(|error| format!("{error:#}\n")).collect();
        let mut out = errors.concat().into_bytes();
        check::check(runs, Vec::new(), options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let replayed = |format| {
        let mut out = Vec::new();
        for run in dumps::open(&[path]).0 {
            replay::show(run, format, false, &Stop::default(), &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    };
    let runs = report::evaluate(dumps::open(&[path]).0, Vec::new(), &ReportArgs::default()).0;
    let wide = lines::Options { stacks: true, ..lines::Options::default() };
    vec![
        ("check", checked(false)),
        ("check --json", checked(true)),
        ("replay", replayed(Format::Text(lines::Options::default()))),
        ("replay --stacks", replayed(Format::Text(wide))),
        ("replay --json", replayed(Format::Json)),
        ("report", report::mail(&runs)),
        ("report --html", report::page(&runs)),
        ("the dashboard", tui::every_screen(dumps::open(&[path]).0)),
    ]
}

/// Fails if an output contains unsafe text. Returns how often the marker is shown.
fn check_outputs(dump: &[u8]) -> Result<usize, TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.p2pt");
    fs::write(&path, dump).unwrap();
    let mut marks = 0;
    for (output, text) in outputs(&path) {
        for line in text.lines() {
            let found = line.chars().find(|&character| text::is_unsafe(character));
            prop_assert!(found.is_none(), "{output}: {:?} in {line:?}", found.unwrap_or_default());
            // Prose is wrapped between any two words: a line may then begin with text of the dump, but not as a heading.
            let rest = if output == "report" { line.strip_prefix('#').unwrap_or_default() } else { line };
            prop_assert!(
                !rest.trim_start_matches([' ', '#']).starts_with(MARK) || rest.starts_with("  "),
                "{output}: {line:?}"
            );
        }
        if output == "report --html" {
            prop_assert!(!text.contains("<script") && !text.contains("<img"), "{output}");
        }
        if output == "report" {
            let markup = ["](", "<img"]
                .iter()
                .find(|markup| text.match_indices(**markup).any(|(at, _)| !is_escaped(&text, at)));
            prop_assert!(markup.is_none(), "{output}: {markup:?}");
        }
        marks += text.matches(MARK).count();
    }
    Ok(marks)
}

/// Whether the text is in an indented block, which Markdown shows verbatim, or follows a backslash.
fn is_escaped(text: &str, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[line..].starts_with("    ") || text[..at].ends_with('\\')
}

fn dump(text: &str, comm: [u8; COMM_LEN]) -> Vec<u8> {
    let spoiled = hostile::spoiled(&samples::dump(), || text.to_owned(), || comm);
    hostile::senseless(&spoiled, text)
}

fn comm(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    let length = name.len().min(COMM_LEN);
    comm[..length].copy_from_slice(&name.as_bytes()[..length]);
    comm
}

#[test]
fn no_output_is_harmed_by_known_attacks() {
    for harm in [
        "\x1b]0;FORGED\x07\x1b[31m",
        "\n# FORGED: HOLDS\n[FORGED](javascript:alert(1))<img src=x onerror=alert(1)>",
        "\"><script>FORGED</script>",
        "\u{202e}\u{2066}\u{200b}FORGED",
        "FORGED\u{61c}\u{ad}\u{34f}\u{180e}\u{3164}\u{fe0f}\u{fff9}\u{e0041}",
        "\r\nFORGED\u{85}FORGED\u{2028}FORGED",
    ] {
        let marks = check_outputs(&dump(harm, comm(harm))).unwrap();
        assert!(marks > 20, "{harm:?} is shown {marks} times only");
    }
}

/// Characters with frequent unsafe ones.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        any::<char>(),
        proptest::char::range('\0', '\u{ff}'),
        proptest::char::range('\u{2000}', '\u{206f}'),
        proptest::char::range('\u{e0000}', '\u{e01ff}'),
        proptest::sample::select(vec![
            '\n', '\x1b', '\u{9b}', '\u{61c}', '\u{fe0f}', '\u{3164}', '\u{fff9}', '<', '[', '`'
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn no_output_is_harmed_by_random_texts(
        texts in prop::collection::vec(prop::collection::vec(character(), 0..24), 1..40),
        comms: [[u8; COMM_LEN]; 4],
    ) {
        let texts: Vec<String> = texts.into_iter().map(String::from_iter).collect();
        let (mut at, mut of) = (texts.iter().cycle(), comms.iter().cycle());
        let spoiled =
            hostile::spoiled(&samples::dump(), || at.next().unwrap().clone(), || *of.next().unwrap());
        check_outputs(&hostile::senseless(&spoiled, &texts[0]))?;
    }
}
