//! The committed schemas of the JSON formats, and the parts of all formats that never disappear.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    event::Reason,
    rules::{RuleId, Severity},
};
use schemars::schema_for;
use serde_json::Value;

use crate::{
    device_report,
    exit::Exit,
    render::{check::CheckReport, doctor::DoctorReport, json::OutputLine},
};

/// The committed schemas, by the name of their file.
const SCHEMAS: [&str; 4] = ["check", "doctor", "holders", "live"];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(file)
}

/// `P2P_TRACE_BLESS=1 cargo test` writes what is committed anew.
#[test]
fn committed_schemas_match_the_code() {
    let schemas = [
        schema_for!(CheckReport),
        schema_for!(DoctorReport),
        schema_for!(device_report::Report),
        schema_for!(OutputLine),
    ];
    for (name, schema) in SCHEMAS.into_iter().zip(schemas) {
        let file = format!("{name}.schema.json");
        let path = path(&file);
        let schema = format!("{:#}\n", serde_json::to_value(schema).unwrap());
        if env::var_os("P2P_TRACE_BLESS").is_some() {
            fs::write(&path, &schema).unwrap();
        }
        let is_same = fs::read_to_string(&path).unwrap() == schema;
        assert!(is_same, "{file} is not up to date: P2P_TRACE_BLESS=1 cargo test");
    }
}

/// Adds what readers may rely on in the schema of `owner`: fields with their types, those that are required, and values.
fn collect(owner: &str, schema: &Value, promises: &mut BTreeSet<String>) {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let strings = |key: &str| list(key).filter_map(Value::as_str).map(str::to_owned);
    promises.extend(strings("required").map(|field| format!("{owner}.{field} required")));
    promises.extend(
        strings("enum")
            .chain(schema.get("const").and_then(Value::as_str).map(str::to_owned))
            .map(|value| format!("{owner} = {value}")),
    );
    for option in list("oneOf").chain(list("anyOf")) {
        collect(owner, option, promises);
    }
    for (field, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        promises.insert(format!("{owner}.{field}: {}", type_of(schema)));
        collect(&format!("{owner}.{field}"), schema, promises);
    }
}

/// The type of a field; of an optional one without `null`.
fn type_of(schema: &Value) -> String {
    let name = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.rsplit('/').next().unwrap_or(name).to_owned()
    };
    if let Some(reference) = schema.get("$ref") {
        return name(reference);
    }
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        return options.iter().map(type_of).filter(|option| option != "null").collect::<Vec<_>>().join("|");
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().map(name).filter(|name| name != "null").collect(),
        Some(single) => vec![name(single)],
        None => Vec::new(),
    };
    match schema.get("items") {
        Some(items) => format!("{} of {}", types.join("|"), type_of(items)),
        None => types.join("|"),
    }
}

/// All that a reader of version 1 may rely on.
fn promises() -> BTreeSet<String> {
    let mut promises = BTreeSet::new();
    for name in SCHEMAS {
        let text = fs::read_to_string(path(&format!("{name}.schema.json"))).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        collect(&format!("{name} root"), &schema, &mut promises);
        for (owner, schema) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            collect(&format!("{name} {owner}"), schema, &mut promises);
        }
    }
    promises.extend(Kind::ALL.iter().map(|&kind| format!("kind {} = {}", kind as u8, kind.name())));
    promises.extend(Hook::ALL.iter().map(|&hook| format!("hook {} = {}", hook as u8, hook.name())));
    promises.extend(RuleId::all().map(|rule| format!("rule {}", rule.name())));
    promises.extend(Reason::ALL.iter().map(|reason| format!("reason {}", reason.name())));
    promises.extend(Severity::ALL.iter().map(|severity| format!("severity {}", severity.name())));
    let exits = [
        (Exit::Success, "success"),
        (Exit::Violated, "violated"),
        (Exit::Inconclusive, "inconclusive"),
        (Exit::Error, "error"),
        (Exit::Usage, "usage"),
        (Exit::NotTraceable, "not traceable"),
        (Exit::NoRights, "no rights"),
    ];
    promises.extend(exits.map(|(exit, name)| format!("exit {} = {name}", exit.code())));
    promises
}

/// Additions are allowed, and frozen with the next release: `P2P_TRACE_FREEZE=1 cargo test` adds them to the list. Nothing
/// removes an entry.
#[test]
fn promises_to_readers_never_disappear() {
    let path = path("frozen-1.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let mut frozen: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    let promises = promises();
    if env::var_os("P2P_TRACE_FREEZE").is_some() {
        frozen.extend(promises.iter().cloned());
        let all: String = frozen.iter().flat_map(|entry| [entry, "\n"]).collect();
        fs::write(&path, all).unwrap();
    }
    assert!(frozen.len() > 300, "the list is incomplete: {} entries", frozen.len());
    let broken: Vec<_> = frozen.difference(&promises).collect();
    assert!(broken.is_empty(), "readers of format 1 rely on {broken:#?}; see docs/compatibility.md");
}
