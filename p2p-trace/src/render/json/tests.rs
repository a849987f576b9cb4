//! Lines, and the schema that describes them.

use p2p_trace_common::{Kind, Record, hook::HOOK_SLOTS, valid};
use p2p_trace_model::{
    accounting::{Tally, Totals},
    event::{NoSymbols, Symbolize, decode::decode, user},
    rules::Finding,
    testing::status as samples,
};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::render::{Context, samples as found};

/// Return address that a kretprobe leaves.
const TRAMPOLINE: u64 = 0x260;

/// Names every address, so that stacks and callers can be seen.
struct Named;

impl Symbolize for Named {
    fn symbolize(&self, address: u64) -> Option<Text> {
        match address {
            TRAMPOLINE => Some("__kretprobe_trampoline+0x0".into()),
            0..100 => Some("bpf_trampoline_6442536467+0x4f".into()),
            _ => Some(format!("nvme_alloc_queue+{address:#x} [nvme]").into()),
        }
    }
}

/// A record in which every field is observed.
fn full(kind: Kind, hook: Hook) -> Record {
    Record {
        kind: kind as u8,
        hook: hook as u8,
        valid: u32::MAX,
        cpu: 3,
        seq: u64::MAX >> 1,
        time_ns: 5_123_456_789,
        pid: 42,
        tgid: 41,
        comm: *b"a\x1b\xff\\b\0\0\0\0\0\0\0\0\0\0\0",
        domain: 0x10000,
        bus: 1,
        devfn: 8,
        small: 2,
        pgmap: u64::MAX,
        words: [u64::MAX - 4, u64::MAX - 3, 0x1234, 7],
        number: 16,
        ..user::blank(0x0123_4567_89ab_cdef)
    }
}

fn event_line(record: &Record, symbols: &dyn Symbolize) -> Line {
    let context = Context::new(samples::CLOCK, &samples::status(), symbols);
    let mut event = decode(record).unwrap();
    event.stack = vec![5, 6, 0x1000, 8];
    Line::Event(Box::new(EventLine::new(&event, &context)))
}

fn finding_line(finding: &Finding) -> Line {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    Line::Finding(Box::new(timed(FindingLine::new(finding, &context))))
}

fn timed<T>(line: T) -> Timed<T> {
    Timed::new(line, 9_000_000_000, &samples::CLOCK)
}

fn envelope() -> Envelope {
    Envelope::new(Some("host-a".into()), &samples::status())
}

/// A line as it is printed.
fn printed(line: &Line) -> String {
    let mut out = Vec::new();
    envelope().to_bytes().write(&mut out, line).unwrap();
    String::from_utf8(out).unwrap()
}

fn lines() -> Vec<Line> {
    let status = samples::status();
    let mut lines: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| kind.is_event())
        .map(|&kind| event_line(&full(kind, Hook::Alloc), &Named))
        .collect();
    let totals = Totals { hits: vec![1; HOOK_SLOTS], missed: vec![Some(2); HOOK_SLOTS], ..Totals::default() };
    let outcome = Tally::default().close(&totals);
    let findings = [found::stall(), found::ended_stall(), found::late_use()];
    lines.extend(findings.iter().map(finding_line));
    lines.extend(found::verdicts().iter().map(|verdict| Line::Verdict(timed(verdict.into()))));
    let skipped = Loss::skipped(Ring::Rare, 1, 5, 6);
    for loss in [samples::LOSS, skipped] {
        lines.push(Line::Lost(LostLine::new(&loss, &samples::CLOCK)));
    }
    lines.push(Line::Summary(timed(SummaryLine::new(&outcome, &status, 5_000_000_000))));
    lines.push(Line::Status(Box::new(StatusLine::new(&status, &samples::CLOCK, 5_000_000_000))));
    lines
}

#[test]
fn lines_round_trip() {
    for line in lines() {
        let text = serde_json::to_string(&line).unwrap();
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text}");
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
    }
}

#[test]
fn printed_lines_contain_the_envelope() {
    for line in lines() {
        let text = printed(&line);
        assert!(text.starts_with("{\"type\":\""), "{text}");
        let whole = OutputLine { envelope: envelope(), line };
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, serde_json::to_value(&whole).unwrap());
        for field in ["host", "boot_id", "run", "kernel", "time", "time_ns"] {
            assert_eq!(text.matches(&format!("\"{field}\":")).count(), 1, "{field}: {text}");
        }
        assert_eq!(serde_json::from_str::<OutputLine>(&text).unwrap(), whole, "{text}");
    }
    let mut out = Vec::new();
    Envelope { host: None, ..envelope() }.to_bytes().write(&mut out, &finding_line(&found::stall())).unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("host\""));
}

#[test]
fn loss_on_unknown_cpu_has_no_cpu() {
    let line = |loss| serde_json::to_value(LostLine::new(&loss, &samples::CLOCK)).unwrap();
    assert_eq!(line(samples::LOSS)["cpu"], 1);
    assert_eq!(line(Loss::skipped(Ring::Rare, 1, 5, 6)).get("cpu"), None);
}

#[test]
fn an_event_reads_as_documented() {
    let line = event_line(&full(Kind::Alloc, Hook::Alloc), &Named);
    insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap());
}

#[test]
fn allocations_and_frees_are_frequent() {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    for kind in [Kind::Alloc, Kind::Free, Kind::SglAlloc, Kind::SglFree, Kind::Map] {
        let event = p2p_trace_model::event::Event { flag: None, ..decode(&full(kind, Hook::Alloc)).unwrap() };
        assert!(
            Frequent::default().write(&mut Vec::new(), &event, &context, &EnvelopeBytes::default()).unwrap(),
            "{event:?}"
        );
    }
}

#[test]
fn unobserved_fields_are_absent() {
    let bare = Record { valid: valid::ADDR, ..full(Kind::Alloc, Hook::Free) };
    let mut line = event_line(&bare, &NoSymbols);
    if let Line::Event(event) = &mut line {
        event.stack.clear();
    }
    let value = serde_json::to_value(line).unwrap();
    let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["addr", "cpu", "hook", "id", "kind", "method", "seq", "time", "time_ns", "type"]);
}

#[test]
fn a_status_reads_as_documented() {
    let line = StatusLine::new(&samples::status(), &samples::CLOCK, 5_000_000_000);
    insta::assert_snapshot!(serde_json::to_string_pretty(&Line::Status(Box::new(line))).unwrap());
}

#[test]
fn a_finding_reads_as_documented() {
    let line = finding_line(&found::ended_stall());
    insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap());
}

#[test]
fn unknown_fields_of_a_finding_are_absent() {
    let bare = Finding { stack: Vec::new(), ..found::late_use() };
    let value = serde_json::to_value(finding_line(&bare)).unwrap();
    for field in ["pgmap", "range_start", "range_end", "stack"] {
        assert!(value.get(field).is_none(), "{field}: {value}");
    }
    let value = serde_json::to_value(finding_line(&found::stall())).unwrap();
    assert_eq!(value.get("end_ns").or_else(|| value.get("end")), None);
    assert_eq!(value["state"], "ongoing");
    let unknown = &value["holders"][2];
    for field in ["pid", "tgid", "comm", "alive", "caller", "caller_addr"] {
        assert!(unknown.get(field).is_none(), "{field}: {unknown}");
    }
}

#[test]
fn answers_are_single_words() {
    let verdicts = found::verdicts();
    let lines = verdicts.iter().map(|verdict| Line::Verdict(timed(verdict.into())));
    let answers: Vec<_> = lines.map(|line| serde_json::to_value(line).unwrap()["verdict"].clone()).collect();
    assert_eq!(answers[3..], ["inconclusive", "inconclusive", "inconclusive", "violated", "not_checked"]);
    assert_eq!(answers[0], "holds");
}

/// A validator for the parts of JSON Schema that the schema uses: every field is known, has its type, and none is
/// missing.
fn validate(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).ok_or("a dangling reference")?;
        validate(value, target, root)?;
    }
    for (key, needed) in [("oneOf", 1..2), ("anyOf", 1..usize::MAX)] {
        if let Some(options) = schema.get(key).and_then(Value::as_array) {
            let fits = options.iter().filter(|option| validate(value, option, root).is_ok()).count();
            if !needed.contains(&fits) {
                return Err(format!("{value}: {fits} of {key} fit"));
            }
        }
    }
    if let Some(expected) = schema.get("const")
        && value != expected
    {
        return Err(format!("{value} is not {expected}"));
    }
    if let Some(names) = schema.get("enum").and_then(Value::as_array)
        && !names.contains(value)
    {
        return Err(format!("{value} is not one of {names:?}"));
    }
    let types = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.is_empty() && !types.contains(&actual) {
        return Err(format!("{value} is {actual}, not {types:?}"));
    }
    if let (Value::Array(items), Some(schema)) = (value, schema.get("items")) {
        items.iter().try_for_each(|item| validate(item, schema, root))?;
    }
    let Value::Object(fields) = value else {
        return Ok(());
    };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !name.as_str().is_some_and(|name| fields.contains_key(name)) {
            return Err(format!("{name} is missing"));
        }
    }
    let Some(properties) = schema.get("properties") else {
        return Ok(());
    };
    fields.iter().try_for_each(|(name, value)| match properties.get(name) {
        Some(schema) => validate(value, schema, root),
        // The tag is next to the reference to the other fields.
        None if name == "type" || schema.get("$ref").is_some() => Ok(()),
        None => Err(format!("{name} is not in the schema")),
    })
}

#[test]
fn lines_match_the_schema_and_wrong_ones_do_not() {
    let schema = serde_json::to_value(schemars::schema_for!(Line)).unwrap();
    for line in lines() {
        let value = serde_json::to_value(&line).unwrap();
        assert_eq!(validate(&value, &schema, &schema), Ok(()), "{value}");
        let mut wrong = value.clone();
        wrong["type"] = "nonsense".into();
        assert!(validate(&wrong, &schema, &schema).is_err());
        let mut wrong = value;
        if let Some(fields) = wrong.as_object_mut() {
            fields.retain(|name, _| {
                !["time_ns", "count", "duration_ns", "findings", "holders"].contains(&name.as_str())
            });
        }
        assert!(validate(&wrong, &schema, &schema).is_err());
    }
}

proptest! {
    /// The fast path for frequent events writes the same bytes.
    #[test]
    fn frequent_path_writes_the_same_bytes(
        kind in proptest::sample::select(Kind::ALL.iter().copied().filter(|kind| kind.is_event()).collect::<Vec<_>>()),
        valid: u32, flags: u8, seq: u64, times: [u64; 3], comm: [u8; 16], words: [u64; 4], number: u32, small: u16, caller in 0..0x1000u64,
    ) {
        let context = Context::new(samples::CLOCK, &samples::status(), &Named);
        let mut frequent = Frequent::default();
        let envelope = envelope().to_bytes();
        for time_ns in times.into_iter().chain([5_000_000_000, 5_000_000_001, 5_999_999_999, 6_000_000_000]) {
            let record = Record { valid, flags, seq, time_ns, comm, words, number, small, ..full(kind, Hook::Alloc) };
            let mut event = decode(&record).unwrap();
            event.caller = event.caller.map(|_| caller);
            let expected = printed(&Line::Event(Box::new(EventLine::new(&event, &context))));
            let mut out = Vec::new();
            if frequent.write(&mut out, &event, &context, &envelope).unwrap() {
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            } else {
                prop_assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn events_round_trip(
        kind in proptest::sample::select(Kind::ALL.iter().copied().filter(|kind| kind.is_event()).collect::<Vec<_>>()),
        flags: u32, cpu: u32, seq: u64, run: u64, time_ns: u64, comm: [u8; 16], words: [u64; 4], number: u32, small: u16,
    ) {
        let record = Record { valid: flags, cpu, seq, run, time_ns, comm, words, number, small, ..full(kind, Hook::Kill) };
        let line = event_line(&record, &NoSymbols);
        let text = serde_json::to_string(&line).unwrap();
        prop_assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
