//! The report as JSON, and the committed schema that describes it.

use std::{env, fs, path::Path};

use super::*;

#[test]
fn a_report_reads_as_documented_and_survives() {
    let report = samples::report();
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    insta::assert_snapshot!(json);
}

/// `P2P_TRACE_BLESS=1 cargo test` writes what is committed anew.
#[test]
fn the_committed_schema_is_the_one_of_this_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/holders.schema.json");
    let schema = format!("{:#}\n", serde_json::to_value(Report::schema()).unwrap());
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == schema,
        "docs/schema/holders.schema.json is not up to date: P2P_TRACE_BLESS=1 cargo test"
    );
}

#[test]
fn the_worst_device_answers_for_all() {
    let mut report = samples::report();
    assert_eq!(report.answer(), Answer::No);
    for device in &mut report.devices {
        device.can_unbind.answer = Answer::Yes;
    }
    assert_eq!(report.answer(), Answer::Yes);
    report.devices[0].can_unbind.answer = Answer::Unknown;
    assert_eq!(report.answer(), Answer::Unknown);
    report.devices.clear();
    assert_eq!(report.answer(), Answer::Yes);
}
