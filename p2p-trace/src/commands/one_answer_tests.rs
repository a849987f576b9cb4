//! Text, JSON, the dashboard at the end of the run, and both forms of the report show the same results for a dump.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use p2p_trace_dump::{Reason, Writer, samples};
use p2p_trace_model::rules::{Answer, RuleId, Severity};

use super::{check, report};
use crate::{
    cli::ReportArgs,
    exit::Exit,
    render::{check::CheckReport, text::Style},
    run::{dumps, stop::Stop},
    tui::{Level, Replay},
};

/// The results that an output shows for a dump.
#[derive(Debug, PartialEq, Eq)]
struct Results {
    exit: Exit,
    /// The number of findings that are listed, per device and rule.
    findings: BTreeMap<(String, String), usize>,
    /// The answer and the number of findings, per device and rule.
    rules: BTreeMap<(String, String), (Answer, usize)>,
}

/// All stored dumps, and damaged versions of them: truncated, and with a damaged block.
fn dumps() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("../crates/dump/tests/fixtures/dumps")];
    folders.extend(fs::read_dir(root.join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()));
    let paths = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = paths.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "p2pt"));
    paths.sort();
    assert!(paths.len() >= 8, "{paths:?}");
    let mut dumps = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().display();
        let bytes = fs::read(&path).unwrap();
        for part in [2, 4, 6, 7] {
            let at = bytes.len() * part / 8;
            let mut hole = bytes.clone();
            hole[at] ^= 1;
            dumps.push((format!("{name} with a hole at {at}"), hole));
            dumps.push((format!("{name} to {at}"), bytes[..at].to_vec()));
        }
        dumps.push((name.to_string(), bytes));
    }
    // Nearly everything is damaged in one of the versions of a small dump, even the device.
    for small in [samples::dump(), one_by_one()] {
        for from in (0..small.len()).step_by(48) {
            for length in [200, 700] {
                let mut hole = small.clone();
                let to = hole.len().min(from + length);
                hole[from..to].fill(0);
                dumps.push((format!("{from} to {to} of a small one"), hole));
            }
        }
    }
    dumps
}

/// One block per record, so that a single record can be damaged.
fn one_by_one() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), samples::header()).unwrap();
    for slice in samples::slices() {
        for item in slice.items {
            writer.slice(&samples::slice(vec![item], slice.watermark_ns)).unwrap();
            writer.flush().unwrap();
        }
    }
    writer.finish(Reason::End, 30 * samples::MS, Some(samples::totals())).unwrap()
}

fn rule(name: &str) -> Option<RuleId> {
    RuleId::all().find(|rule| rule.name() == name)
}

fn exit(answer: Answer) -> Exit {
    check::exit(false, &[answer])
}

fn checked(path: &Path, json: bool) -> (Exit, String) {
    let style = Style { color: false };
    let options = check::Options { json, style, fail_on: Severity::Medium, stall_after: None };
    let (runs, errors) = dumps::open(&[path]);
    let mut out = Vec::new();
    let exit = check::check(runs, errors, options, &mut out).unwrap();
    (exit, String::from_utf8(out).unwrap())
}

fn of_text(path: &Path) -> Results {
    let (exit, text) = checked(path, false);
    let (mut findings, mut rules) = (BTreeMap::new(), BTreeMap::new());
    let mut device = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(of) = line.strip_prefix("rules for ") {
            device = Some(of.to_owned());
        } else if let Some(device) = &device {
            let answers =
                [Answer::Violated, Answer::Inconclusive, Answer::NotChecked, Answer::Holds].map(|answer| {
                    let name = if answer == Answer::Violated { "VIOLATED" } else { answer.name() };
                    (name, answer)
                });
            let line = line.trim_start().replacen("holds (partial coverage)", "holds", 1);
            let found = answers.iter().find_map(|(name, answer)| Some((line.strip_prefix(name)?, *answer)));
            let Some((line, answer)) = found else { continue };
            for group in line.split("; ") {
                let (names, rest) = group.split_once(" (").unwrap_or((group, ""));
                for rule in names.split(", ").filter_map(|name| rule(name.trim())) {
                    let count =
                        rest.split_once("), ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                    let count = count.filter(|_| answer == Answer::Violated).unwrap_or(0);
                    rules.insert((device.clone(), rule.name().to_owned()), (answer, count));
                }
            }
        } else if words.get(2) == Some(&"VIOLATED") {
            *findings.entry((words[1].to_owned(), words[3].to_owned())).or_default() += 1;
        }
    }
    Results { exit, findings, rules }
}

fn of_report(exit: Exit, report: &CheckReport) -> Results {
    let mut findings = BTreeMap::new();
    for finding in &report.findings {
        *findings.entry((finding.device.0.to_string(), finding.rule.name().to_owned())).or_default() += 1;
    }
    let rules = report.verdicts.iter().map(|verdict| {
        let key = (verdict.device.0.to_string(), verdict.rule.name().to_owned());
        (key, (verdict.verdict, verdict.findings as usize))
    });
    Results { exit, findings, rules: rules.collect() }
}

fn of_json(path: &Path) -> Results {
    let (exit, text) = checked(path, true);
    of_report(exit, &serde_json::from_str(&text).unwrap())
}

/// The first and the last result of the dashboard.
fn of_dashboard(path: &Path) -> (Level, Results) {
    let path = path.to_owned();
    let open = move |run: usize| {
        let (mut runs, _) = dumps::open(std::slice::from_ref(&path));
        let count = runs.len();
        Ok((runs.swap_remove(run).reader, count))
    };
    let mut replay = Replay::new(Box::new(open), &Stop::default()).unwrap();
    let first = replay.shared().view_model().headline.level;
    let shown = replay.at_the_end().unwrap();
    let mut findings = BTreeMap::new();
    for finding in shown.findings.iter() {
        *findings.entry((finding.device.to_string(), finding.rule.name().to_owned())).or_default() += 1;
    }
    let rules = shown.verdicts.iter().map(|verdict| {
        let key = (verdict.device.to_string(), verdict.rule.name().to_owned());
        (key, (verdict.answer, verdict.findings as usize))
    });
    let exit = exit(match shown.headline.level {
        Level::Fine | Level::Blocked => Answer::Holds,
        Level::Inconclusive => Answer::Inconclusive,
        Level::Violated => Answer::Violated,
    });
    (first, Results { exit, findings, rules: rules.collect() })
}

fn evaluated(path: &Path) -> (Vec<report::Evaluated>, Exit) {
    let (runs, errors) = dumps::open(&[path]);
    report::evaluate(runs, errors, &ReportArgs::default())
}

fn answer_of_word(word: &str) -> Answer {
    match word {
        "VIOLATED" => Answer::Violated,
        "INCONCLUSIVE" => Answer::Inconclusive,
        "holds" => Answer::Holds,
        "not" => Answer::NotChecked,
        other => panic!("{other}"),
    }
}

fn of_markdown(path: &Path) -> Results {
    let (runs, exit) = evaluated(path);
    let text = report::mail(&runs);
    let (mut findings, mut rules) = (BTreeMap::new(), BTreeMap::new());
    let (mut in_rules, mut device) = (false, String::new());
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if line.starts_with("## ") {
            in_rules = line == "## Rules";
        } else if let Some(rest) = line.strip_prefix("### ") {
            let (rest, device) = rest.rsplit_once(", ").unwrap();
            let rule = rest.split(' ').nth(1).unwrap();
            *findings.entry((device.to_owned(), rule.to_owned())).or_default() += 1;
        } else if in_rules && line.starts_with(|first: char| first.is_ascii_hexdigit()) {
            words[0].trim_end_matches(':').clone_into(&mut device);
        } else if in_rules && line.starts_with("    ") {
            let at = words.iter().position(|word| rule(word).is_some()).unwrap();
            let count = words.get(at + 2).map_or(0, |count| count.parse().unwrap());
            rules.insert((device.clone(), words[at].to_owned()), (answer_of_word(words[0]), count));
        }
    }
    let title = text.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert_eq!(self::exit(answer_of_word(title)), exit, "{}", path.display());
    Results { exit, findings, rules }
}

fn of_html(path: &Path) -> Results {
    let (runs, exit) = evaluated(path);
    let page = report::page(&runs);
    let (mut findings, mut rules) = (BTreeMap::new(), BTreeMap::new());
    for part in page.split("data-finding=").skip(1) {
        let heading = part.split_once("<h3>").unwrap().1.split('<').next().unwrap();
        let (rest, device) = heading.rsplit_once(", ").unwrap();
        let rule = rest.split(' ').nth(1).unwrap();
        *findings.entry((device.to_owned(), rule.to_owned())).or_default() += 1;
    }
    for part in page.split("data-rule=\"").skip(1) {
        let (key, rest) = part.split_once('"').unwrap();
        let (device, rule) = key.split_once(' ').unwrap();
        let badge = rest.split_once("</span>").unwrap();
        let words =
            badge.0.rsplit('>').next().unwrap().trim_start_matches(['\u{2716}', '\u{2713}', '?', ' ']);
        let count = badge.1.split("<td>").nth(1).unwrap().split([' ', '<']).next().unwrap();
        let key = (device.to_owned(), rule.to_owned());
        rules.insert(key, (answer_of_word(words.split(' ').next().unwrap()), count.parse().unwrap_or(0)));
    }
    Results { exit, findings, rules }
}

#[test]
fn every_output_shows_the_same_results_for_every_dump() {
    let dir = tempfile::tempdir().unwrap();
    let mut differ = Vec::new();
    let (mut with_findings, mut without_device, mut unreadable) = (0, 0, 0);
    for (number, (name, bytes)) in dumps().into_iter().enumerate() {
        let path: PathBuf = dir.path().join(format!("{number}.p2pt"));
        fs::write(&path, bytes).unwrap();
        if dumps::open(&[&path]).0.is_empty() {
            assert!(name.contains(" to "), "{name}");
            unreadable += 1;
            continue;
        }
        let json = of_json(&path);
        // A rule is violated for a device exactly if findings of it are listed.
        let listed = &json.findings;
        let counted = json.rules.iter().filter(|(_, (answer, _))| *answer == Answer::Violated);
        let counted: BTreeMap<_, _> = counted.map(|(key, (_, count))| (key.clone(), *count)).collect();
        if *listed != counted {
            differ.push(format!("{name}: listed are {listed:?}, counted are {counted:?}"));
        }
        let (first, dashboard) = of_dashboard(&path);
        let is_fine = first < Level::Inconclusive;
        let is_cut = name.contains(".p2pt to ");
        if json.exit == Exit::Inconclusive && is_fine && (json.rules.is_empty() || is_cut) {
            differ.push(format!("{name}: the dashboard begins with {}", first.name()));
        }
        with_findings += usize::from(!listed.is_empty());
        without_device += usize::from(json.rules.is_empty() && json.exit == Exit::Inconclusive);
        let others = [
            ("text", of_text(&path)),
            ("dashboard", dashboard),
            ("markdown", of_markdown(&path)),
            ("html", of_html(&path)),
        ];
        for (output, results) in others {
            if results.exit != json.exit || results.findings != json.findings || results.rules != json.rules {
                let rules =
                    json.rules.iter().filter(|(key, answer)| results.rules.get(*key) != Some(*answer));
                let rules: Vec<_> =
                    rules.map(|(key, answer)| (key, answer, results.rules.get(key))).collect();
                differ.push(format!(
                    "{name}: JSON says {} with {:?}, {output} says {} with {:?}; rules: {rules:?}",
                    json.exit as u8, json.findings, results.exit as u8, results.findings
                ));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(
        with_findings > 30 && without_device > 3 && unreadable < 60,
        "{with_findings}, {without_device}, {unreadable}"
    );
}
