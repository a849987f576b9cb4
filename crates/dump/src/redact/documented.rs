//! Compares the table in `docs/dump-format.md` with [`TABLE`], and [`TABLE`] with the code for each field.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use p2p_trace_common::{Hook, Kind, Record};
use p2p_trace_model::{
    event::layout::{Layout, Word},
    names::Hex,
    rules::{Found, Lost, RuleId, RuleState, Skipped},
    stream::{Diagnostic, Level},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Redactor,
    table::{Fate, Row, TABLE, Treatment},
};
use crate::{Checkpoint, Diagnostics, Entry, Footer, Head, Reason, Symbols, samples};

const BEGIN: &str = "<!-- redaction -->\n";
const END: &str = "<!-- end redaction -->";

/// `P2P_TRACE_BLESS=1 cargo test` rewrites the table.
#[test]
fn documentation_matches_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dump-format.md");
    let committed = fs::read_to_string(&path).unwrap();
    let (front, rest) = committed.split_once(BEGIN).unwrap();
    let (_, back) = rest.split_once(END).unwrap();
    let mut table = String::from("| of | field | is | how, or why |\n|---|---|---|---|\n");
    for Row { place, fields, fate, how } in TABLE {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        writeln!(table, "| {place} | {} | {} | {how} |", fields.join(", "), fate.name()).unwrap();
    }
    let text = format!("{front}{BEGIN}{table}{END}{back}");
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::write(path, text).unwrap();
    } else {
        assert!(committed == text, "docs/dump-format.md is not up to date: P2P_TRACE_BLESS=1 cargo test");
    }
}

/// The row that lists a field or one of its parents.
fn row(place: &str, field: &str) -> &'static Row {
    let is_of = |known: &&str| {
        field.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let rows: Vec<_> =
        TABLE.iter().filter(|row| row.place == place && row.fields.iter().any(is_of)).collect();
    assert_eq!(rows.len(), 1, "{place}: {field}");
    rows[0]
}

/// The values at the end of each path. Elements of an array have the path of the array.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| leaves(value, path, found)),
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, &path, found);
            }
        }
        leaf => found.entry(path.to_owned()).or_default().push(leaf.to_string()),
    }
}

/// Checks that `after` differs from `before` exactly as the table says.
fn holds(place: &str, before: &impl Serialize, after: &impl Serialize) {
    let of = |value: Value| {
        let mut found = BTreeMap::new();
        leaves(&value, "", &mut found);
        found
    };
    let before = of(serde_json::to_value(before).unwrap());
    let after = of(serde_json::to_value(after).unwrap());
    for (path, values) in &before {
        let now = after.get(path);
        match row(place, path).fate {
            Fate::Kept => assert_eq!(now, Some(values), "{place}: {path}"),
            Fate::Removed | Fate::Moved | Fate::Pseudonym => {
                let is_left = now.is_some_and(|now| now.iter().any(|value| values.contains(value)));
                assert!(!is_left, "{place}: {path} is still {now:?}");
            }
        }
    }
}

#[test]
fn json_is_redacted_as_documented() {
    let redactor = Redactor::random();
    let mut header = samples::header();
    header.host = Some("build-7".into());
    header.status.hooks[0].error = Some("perf_event_open: /opt/secret".into());
    let redacted = redactor.header(header.clone());
    holds("status", &header.status, &redacted.status);
    let without_status = |header: &crate::Header| {
        let mut value = serde_json::to_value(header).unwrap();
        value.as_object_mut().unwrap().remove("status");
        value
    };
    holds("header", &without_status(&header), &without_status(&redacted));

    let at = 0xffff_ffff_8100_0010;
    let names = |at| {
        let pair = |Hex(at), name: &str| serde_json::json!({ "address": at, "name": name });
        serde_json::json!({ "names": [pair(at, "nvme_alloc_queue+0x1a3 [nvme]")] })
    };
    let symbols = Entry::Symbols(Symbols { names: vec![(Hex(at), "nvme_alloc_queue+0x1a3 [nvme]".into())] });
    let Entry::Symbols(Symbols { names: pairs }) = redactor.entry(symbols) else { panic!("another kind") };
    assert_eq!(pairs[0].1.as_str(), "nvme_alloc_queue+0x1a3 [nvme]");
    holds("symbols", &names(Hex(at)), &names(pairs[0].0));

    let messages = Diagnostic::new(7, Level::Warn, "kill: cannot read the pgmap 0xffff888140000000");
    let messages = Diagnostics { messages: vec![messages] };
    let Entry::Diagnostics(now) = redactor.entry(Entry::Diagnostics(messages.clone())) else {
        panic!("another kind")
    };
    assert!(now.messages[0].text.starts_with("kill: cannot read the pgmap 0xffff"));
    holds("diagnostics", &messages, &now);

    let footer = Footer {
        reason: Reason::End,
        duration_ns: 9,
        totals: Some(samples::totals()),
        counts: Default::default(),
    };
    let Entry::Footer(now) = redactor.entry(Entry::Footer(Box::new(footer.clone()))) else {
        panic!("another kind")
    };
    holds("footer", &footer, &*now);
}

#[test]
fn checkpoint_is_redacted_as_documented() {
    let found = Found {
        rule: RuleId::all().next().unwrap(),
        device: "0000:03:00.0".parse().unwrap(),
        findings: 2,
        open: 1,
        uncertainties: vec!["sh (pid 97) was not seen".into(), "and more".into()],
    };
    let lost = Lost { count: 3, until_ns: 4 };
    let skipped = vec![Skipped { hook: Hook::Kill, runs: 5 }];
    let rules = RuleState { lost_hot: lost, lost_rare: lost, skipped, found: vec![found] };
    let head = Head {
        time_ns: 5,
        reached_ns: 6,
        omitted: 7,
        rules,
        tally: Some(Default::default()),
        ..Head::default()
    };
    let checkpoint = Checkpoint { head, records: vec![samples::record(0, Kind::Kill, Hook::Kill)] };
    let redactor = Redactor::random();
    let redacted = redactor.checkpoint(checkpoint.clone());
    holds("checkpoint", &checkpoint.head, &redacted.head);
    assert_eq!(redacted.head.rules.found[0].uncertainties.len(), 1, "the existence of an uncertainty stays");
    assert_eq!(redacted.records, [redactor.record(checkpoint.records[0])]);
}

const WORDS: [(Word, &str); 19] = [
    (Word::Unused, "unused"),
    (Word::Size, "size"),
    (Word::Offset, "offset"),
    (Word::Caller, "caller"),
    (Word::Start, "start"),
    (Word::End, "end"),
    (Word::Addr, "address"),
    (Word::Physical, "physical address"),
    (Word::Cgroup, "cgroup id"),
    (Word::Sgl, "scatter list"),
    (Word::UserAddr, "user address"),
    (Word::Page, "page"),
    (Word::FirstNs, "first time"),
    (Word::LastNs, "last time"),
    (Word::Client, "mapping device"),
    (Word::Allocated, "allocated bytes"),
    (Word::Refs, "references"),
    (Word::Waiting, "time off the CPU"),
    (Word::Asleep, "time suspended"),
];

fn fate(word: Word) -> Fate {
    let (_, name) = WORDS.iter().find(|(known, _)| *known == word).unwrap();
    row("word of a record", name).fate
}

#[test]
fn record_is_redacted_as_documented() {
    let redactor = Redactor::random();
    let fields = |record: &Record| {
        let Record {
            magic,
            schema,
            kind,
            hook,
            flags,
            valid,
            cpu,
            run,
            seq,
            time_ns,
            pid,
            tgid,
            comm,
            domain,
            bus,
            devfn,
            small,
            pgmap,
            words: _,
            number,
            guard,
        } = *record;
        let common = [
            ("magic", u64::from(magic)),
            ("schema", schema.into()),
            ("kind", kind.into()),
            ("hook", hook.into()),
            ("flags", flags.into()),
            ("valid", valid.into()),
            ("cpu", cpu.into()),
            ("run", run),
            ("seq", seq),
            ("time_ns", time_ns),
            ("pid", pid.into()),
            ("tgid", tgid.into()),
            ("comm", u64::from_le_bytes(*comm.first_chunk().unwrap())),
            ("domain", domain.into()),
            ("bus", bus.into()),
            ("devfn", devfn.into()),
            ("small", small.into()),
            ("pgmap", pgmap),
            ("guard", guard.into()),
        ];
        let mut fields = BTreeMap::from(common);
        let number_of = if kind == Kind::Kill as u8 { "number, of a reference" } else { "number" };
        fields.insert(number_of, number.into());
        fields
    };
    let word = 0xffff_8881_4000_1000;
    for &kind in Kind::ALL.iter().filter(|&&kind| kind != Kind::Stack && kind != Kind::Loss) {
        let before = Record {
            kind: kind as u8,
            valid: u32::MAX,
            pid: 97,
            tgid: 96,
            comm: *b"secretive\0\0\0\0\0\0\0",
            domain: 1,
            devfn: 8,
            small: 3,
            pgmap: word,
            words: [word; 4],
            number: 0x4000_1000,
            guard: 9,
            ..samples::record(3, Kind::Kill, Hook::Kill)
        };
        let after = redactor.record(before);
        let now = fields(&after);
        for (field, value) in fields(&before) {
            let is_kept = row("record", field).fate == Fate::Kept;
            assert_eq!(now[field] == value, is_kept, "{field} of {}", kind.name());
        }
        for (now, meaning) in after.words.into_iter().zip(Layout::of(kind).words) {
            match fate(meaning) {
                Fate::Kept => assert_eq!(now, word, "{meaning:?}"),
                Fate::Removed => assert_eq!(now, 0, "{meaning:?}"),
                Fate::Moved | Fate::Pseudonym => assert_ne!(now, word, "{meaning:?}"),
            }
            let is_kept = Treatment::of(meaning) == Treatment::Kept;
            assert_eq!(fate(meaning) == Fate::Kept, is_kept, "{meaning:?}");
        }
    }
}
