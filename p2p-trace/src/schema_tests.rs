//! The committed schemas of the JSON output.

use std::{env, fs, path::Path};

use schemars::schema_for;

use crate::{
    device_report,
    render::{check::CheckReport, json::Line},
};

/// `P2P_TRACE_BLESS=1 cargo test` updates the committed schema.
#[test]
fn each_committed_schema_is_the_one_of_this_code() {
    for (name, schema) in [
        ("check", schema_for!(CheckReport)),
        ("holders", schema_for!(device_report::Report)),
        ("live", schema_for!(Line)),
    ] {
        let file = format!("docs/schema/{name}.schema.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&file);
        let schema = format!("{:#}\n", serde_json::to_value(schema).unwrap());
        if env::var_os("P2P_TRACE_BLESS").is_some() {
            fs::write(&path, &schema).unwrap();
        }
        let is_same = fs::read_to_string(&path).unwrap() == schema;
        assert!(is_same, "{file} is not up to date: P2P_TRACE_BLESS=1 cargo test");
    }
}
