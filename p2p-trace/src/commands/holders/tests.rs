//! From a report to the output and the exit code.

use std::collections::VecDeque;

use p2p_trace_probe::testing::sysfs;

use super::{show::Screen, *};
use crate::device_report::{Holder, samples};

/// Returns prepared reports, and records the requests.
struct Prepared {
    reports: VecDeque<Report>,
    asked: Vec<Vec<DeviceAddress>>,
}

impl Prepared {
    fn new(reports: impl Into<VecDeque<Report>>) -> Self {
        Self { reports: reports.into(), asked: Vec::new() }
    }
}

impl Observe for Prepared {
    fn observe(&mut self, devices: &[DeviceAddress]) -> Result<Report> {
        self.asked.push(devices.to_vec());
        self.reports.pop_front().context("no report is left")
    }
}

const PLAIN: Style = Style { color: false };

fn plan(format: Format, can_unbind: bool) -> Plan {
    Plan { devices: Vec::new(), format, can_unbind }
}

/// The output and the exit code after all reports were shown.
fn shown(plan: &Plan, reports: Vec<Report>) -> (String, Exit) {
    let mut observe = Prepared::new(reports);
    let mut left = observe.reports.len();
    let mut out = Vec::new();
    let next = || {
        left -= 1;
        left > 0
    };
    let first = observe.observe(&plan.devices).unwrap();
    let exit = repeat(plan, first, &mut observe, next, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), exit)
}

fn answering(answer: Answer) -> Report {
    let mut report = samples::report();
    for device in &mut report.devices {
        device.can_unbind.answer = answer;
    }
    report
}

#[test]
fn the_exit_code_is_the_answer_only_with_can_unbind() {
    let format = Format::Verdict { style: PLAIN };
    for (answer, exit) in
        [(Answer::Yes, Exit::Success), (Answer::No, Exit::Violated), (Answer::Unknown, Exit::Inconclusive)]
    {
        assert_eq!(shown(&plan(format, true), vec![answering(answer)]).1, exit);
        assert_eq!(shown(&plan(format, false), vec![answering(answer)]).1, Exit::Success);
    }
}

#[test]
fn a_verdict_is_one_line_per_device() {
    let plan = plan(Format::Verdict { style: PLAIN }, true);
    insta::assert_snapshot!(shown(&plan, vec![samples::report()]).0, @"
    0000:03:00.0 no: it would wait for 12 KiB held by kworker/1:2H[310] at nvmet_req_alloc_sgls+0x8f [nvmet] (scatter list)
    0000:04:00.0 no: an unbind is blocked already: waiting for the last reference to a range (memunmap_pages)
    ");
    let mut none = samples::report();
    none.devices.clear();
    let (text, exit) = shown(&plan, vec![none]);
    assert_eq!((text.as_str(), exit), ("no device has p2p memory\n", Exit::Success));
}

#[test]
fn json_is_one_object_or_one_per_line() {
    let reports = vec![samples::report(), answering(Answer::Yes)];
    let (lines, _) = shown(&plan(Format::Json { lines: true }, false), reports.clone());
    let read: Vec<Report> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, reports);
    let (object, _) = shown(&plan(Format::Json { lines: false }, false), vec![samples::report()]);
    assert_eq!(serde_json::from_str::<Report>(&object).unwrap(), samples::report());
}

#[test]
fn watch_redraws_a_terminal_and_appends_to_anything_else() {
    let watch = |screen| {
        let (style, width) = (PLAIN, 100);
        let format = Format::Text { style, width, screen };
        shown(&plan(format, false), vec![samples::report(), samples::report()]).0
    };
    let redrawn = watch(Screen::Redraw { rows: 100 });
    assert_eq!(redrawn.matches("\x1b[H").count(), 2);
    assert!(redrawn.lines().all(|line| line.ends_with("\x1b[K") || line == "\x1b[J"));
    let cut = watch(Screen::Redraw { rows: 10 });
    assert_eq!(cut.matches('\n').count(), 2 * 9, "{cut}");
    assert!(cut.contains("more lines"));
    let appended = watch(Screen::Append);
    assert!(!appended.contains('\x1b') && appended.matches("can unbind").count() == 4);
    let once = watch(Screen::Once);
    assert_eq!(appended, format!("{}\n{}\n", &once[..once.len() / 2], &once[..once.len() / 2]));
}

#[test]
fn requests_name_the_devices_and_errors_are_returned() {
    let mut observe = Prepared::new([samples::report()]);
    let devices = vec![DeviceAddress::from_devfn(0, 3, 0)];
    let plan = Plan { devices: devices.clone(), ..plan(Format::Json { lines: true }, false) };
    let first = observe.observe(&plan.devices).unwrap();
    let error = repeat(&plan, first, &mut observe, || true, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "no report is left");
    assert_eq!(observe.asked, [devices.clone(), devices]);
}

#[test]
fn undecided_memory_is_read_a_second_time() {
    let mut first = answering(Answer::Unknown);
    let mut second = first.clone();
    first.devices[0].holders = vec![Holder { age_ns: 5, ..samples::target() }];
    second.devices[0].holders = vec![samples::target()];
    let mut waited = 0;
    let mut observe = Prepared::new([first, second.clone(), second.clone()]);
    assert_eq!(decided(&mut observe, &[], || waited += 1).unwrap(), second);
    assert_eq!((waited, observe.asked.len()), (1, 2));
    assert_eq!(decided(&mut observe, &[], || waited += 1).unwrap(), second);
    assert_eq!((waited, observe.asked.len()), (1, 3), "held for long: once is enough");
}

/// A pipe whose reader has closed it.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_stdout_ends_a_watch_and_keeps_the_verdict() {
    let mut observe = Prepared::new([samples::report()]);
    let plan = plan(Format::Verdict { style: PLAIN }, true);
    let first = observe.observe(&plan.devices).unwrap();
    let exit = repeat(&plan, first, &mut observe, || true, &mut Closed).unwrap();
    assert_eq!(exit, Exit::Violated);
}

#[test]
fn resolves_names_and_rejects_an_unknown_one_as_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let root = KernelRoot::at(folder.path());
    sysfs::plant(&root);
    let names = ["nvme0", "03:00.0", "0000:01:00.0"].map(str::to_owned);
    let found: Vec<_> = resolve(&root, &names).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["0000:01:00.0", "0000:03:00.0"]);
    let error = resolve(&root, &["nvme9".to_owned()]).unwrap_err();
    assert_eq!(crate::commands::exit_of(&error), Exit::Usage);
}
