//! Tests of streams that are rejected.

use super::*;

/// The id of the run.
const RUN: &str = "0000000000000001";
const ACCOUNTING: &str = r#""accounting":{"sequence":"exact","missed":"counted"}"#;
const STATUS: &str = r#"{"type":"status","format":1,"time":"","time_ns":0,"version":"","kernel":"","boot_id":"",
    "run":"0000000000000001","cpus":1,"rings":{"hot":0,"rare":0},
    "accounting":{"sequence":"exact","missed":"counted"},"hooks":[],"devices":[]}"#;

/// A stream of events `(time, seq, specific fields)`, with the summary's lines on hooks.
pub(crate) fn stream(events: &[(u64, u64, &str)], hooks: &str) -> Vec<String> {
    let mut lines = vec![STATUS.to_owned()];
    lines.extend(events.iter().map(|(time, seq, rest)| {
        let fixed = r#""type":"event","hook":"page_free","method":"fentry","cpu":0,"device":"0000:03:00.0","time":"""#;
        format!(r#"{{{fixed},"id":"{RUN}:0:{seq}","seq":{seq},"time_ns":{time},{rest}}}"#)
    }));
    lines.push(format!(
        r#"{{"type":"summary","lost":0,"duration_ns":1,"events":0,"time":"","time_ns":9,"contradictions":[],{ACCOUNTING},"hooks":[{hooks}]}}"#
    ));
    lines
}

const ACCOUNT: &str = r#"{"hook":"page_free","method":"fentry","hits":16,"delivered":16,"lost":0},
                         {"hook":"alloc","hits":0,"delivered":0,"lost":0}"#;
const FREES: [(u64, u64, &str); 2] =
    [(5, 0, r#""kind":"page_free","count":12"#), (6, 2, r#""kind":"page_free","count":4"#)];

fn complaint(lines: &[String]) -> String {
    Stream::parse(lines).and_then(|stream| stream.check()).unwrap_err().to_string()
}

#[test]
fn accepts_a_valid_stream() {
    let stream = Stream::parse(&stream(&FREES, ACCOUNT)).unwrap();
    stream.check().unwrap();
    assert_eq!(stream.of_kind("page_free").count(), 2);
    assert_eq!(stream.hook("page_free").unwrap().hits, 16);
    assert!(stream.only("kill").unwrap_err().to_string().contains("no event"));
    assert!(stream.only("page_free").unwrap_err().to_string().contains("more than one"));
}

#[test]
fn requires_status_and_summary() {
    let mut lines = stream(&FREES, ACCOUNT);
    assert!(complaint(&lines[1..]).contains("begin with a status"));
    let summary = lines.pop().unwrap();
    assert!(complaint(&lines).contains("no summary"));
    lines.extend([summary, STATUS.to_owned()]);
    assert!(complaint(&lines).contains("after the summary"));
}

#[test]
fn parses_a_stream_that_was_cut_off() {
    let mut lines = stream(&FREES, ACCOUNT);
    assert!(Stream::parse_cut_off(&lines).is_err());
    lines.pop();
    assert_eq!(Stream::parse_cut_off(&lines).unwrap().events.len(), 2);
}

#[test]
fn rejects_unaccounted_hits() {
    let account = ACCOUNT.replacen("\"hits\":16", "\"hits\":17", 1);
    assert!(complaint(&stream(&FREES, &account)).contains("16 delivered + 0 lost do not add up to 17 hits"));
    assert!(complaint(&stream(&FREES[..1], ACCOUNT)).contains("stand for 12"));
}

#[test]
fn rejects_missing_and_repeated_numbers() {
    let mut events = FREES;
    events[1].1 = 6;
    let account = ACCOUNT.replacen(
        "\"hits\":16,\"delivered\":16,\"lost\":0",
        "\"hits\":18,\"delivered\":16,\"lost\":2",
        1,
    );
    let mut lines = stream(&events, &account);
    assert!(complaint(&lines).contains("missing"), "{}", complaint(&lines));
    let loss = r#"{"type":"lost","time":"","time_ns":9,"cpu":0,"ring":"hot","count":2,"first_seq":2,"last_seq":4,"reason":"overwritten",
        "from":"","from_ns":0,"to_ns":0}"#;
    lines.insert(2, loss.to_owned());
    let complained = complaint(&lines);
    assert!(
        complained.contains("2 losses were reported, 0 of them skipped, but the summary has 0 and 0"),
        "{complained}"
    );
    let last = lines.len() - 1;
    lines[last] = lines[last].replace("\"summary\",\"lost\":0", "\"summary\",\"lost\":2");
    Stream::parse(&lines).unwrap().check().unwrap();
    lines[2] = loss.replace("\"last_seq\":4", "\"last_seq\":6");
    assert!(complaint(&lines).contains("6 occurs twice"), "{}", complaint(&lines));
}

#[test]
fn skipped_runs_count_as_lost_without_a_cpu() {
    let mut lines = stream(&FREES, ACCOUNT);
    let loss = r#"{"type":"lost","time":"","time_ns":9,"ring":"rare","count":1,"first_seq":1,"last_seq":1,"reason":"skipped",
        "from":"","from_ns":0,"to_ns":0}"#;
    lines.insert(2, loss.to_owned());
    let last = lines.len() - 1;
    let total = |count: &str| format!("\"summary\",{count},\"dur");
    lines[last] = lines[last].replace(&total("\"lost\":0"), &total("\"lost\":1"));
    assert!(complaint(&lines).contains("the summary has 1 and 0"), "{}", complaint(&lines));
    lines[last] = lines[last].replace(&total("\"lost\":1"), &total("\"lost\":1,\"skipped\":1"));
    Stream::parse(&lines).unwrap().check().unwrap();
    lines[2] = loss.replace("\"ring\"", "\"cpu\":4294967295,\"ring\"");
    assert!(complaint(&lines).contains("lacks a CPU"), "{}", complaint(&lines));
}

#[test]
fn rejects_wrong_order_and_repeated_ids() {
    let event = |time, seq| (time, seq, r#""kind":"kill""#);
    assert!(complaint(&stream(&[event(6, 0), event(5, 2)], "")).contains("comes before"));
    assert!(complaint(&stream(&[event(5, 0), event(5, 0)], "")).contains("twice"));
}

#[test]
fn reports_contradictions() {
    let mut lines = stream(&[], ACCOUNT.split(",\n").last().unwrap());
    let last = lines.len() - 1;
    lines[last] = lines[last].replace("\"contradictions\":[]", "\"contradictions\":[\"x\"]");
    assert!(complaint(&lines).contains("contradicts itself: x"), "{}", complaint(&lines));
}
