//! The report as JSON.

use super::*;

#[test]
fn a_report_reads_as_documented_and_survives() {
    let report = samples::report();
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    insta::assert_snapshot!(json);
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
