//! The report as JSON.

use super::*;

#[test]
fn report_matches_snapshot_and_round_trips() {
    let report = samples::report();
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    insta::assert_snapshot!(json);
}

#[test]
fn answer_is_that_of_the_worst_device() {
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
