//! From records to the report, on a host laid out in a folder.

use p2p_trace_common::state;
use p2p_trace_model::{
    event::DeviceAddress,
    testing::samples::{CLOCK, MS, READER, SECOND, SHELL, code},
};
use p2p_trace_probe::testing::procfs;

use super::{
    stories::{DEVICE, Story},
    *,
};
use crate::render::{holders::text, text::Style};

/// The report of this host at `now_ns`.
fn report_at(
    story: &Story,
    now_ns: u64,
    change: impl FnOnce(&p2p_trace_probe::kernel::KernelRoot),
) -> Report {
    report_of(story, now_ns, &[], &[], change)
}

fn report_of(
    story: &Story,
    now_ns: u64,
    devices: &[DeviceAddress],
    traced: &[DeviceAddress],
    change: impl FnOnce(&p2p_trace_probe::kernel::KernelRoot),
) -> Report {
    report_asked(story, now_ns, None, devices, traced, change)
}

fn report_asked(
    story: &Story,
    now_ns: u64,
    asked_ns: Option<u64>,
    devices: &[DeviceAddress],
    traced: &[DeviceAddress],
    change: impl FnOnce(&p2p_trace_probe::kernel::KernelRoot),
) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let root = stories::plant(folder.path());
    change(&root);
    let host = Host::read(&root, devices.iter().copied());
    let host = match asked_ns {
        Some(asked_ns) => host.asked_at(asked_ns),
        None => host,
    };
    let facts = Facts {
        source: &Source::Live { pid: 700, since: CLOCK.rfc3339(0).into(), since_ns: 0 },
        kernel: "7.3.4+deb13-amd64",
        traced,
        host: &host,
        symbols: &code(),
        clock: CLOCK,
        now_ns,
    };
    report(&story.model, devices, &facts)
}

fn shown(report: &Report) -> String {
    text(report, 110, Style { color: false })
}

/// Everything but the unbind.
fn at_work() -> Story {
    let mut story = Story::new();
    story.add(SECOND);
    story.queues(SECOND + 10 * MS);
    story.snapshot(1500 * MS, 0, 16_387, &[(0, 128 << 10)], None);
    story
}

#[test]
fn drivers_own_memory_is_yes() {
    let report = report_at(&at_work(), 5 * SECOND, |_| {});
    let [device] = &report.devices[..] else { panic!("{report:?}") };
    assert_eq!(device.can_unbind.answer, Answer::Yes, "{}", shown(&report));
    let [queues] = &device.holders[..] else { panic!("{device:?}") };
    assert_eq!((queues.count, queues.bytes, queues.by_driver), (2, 128 << 10, Some(true)));
    assert_eq!(queues.age_ns, 5 * SECOND - (SECOND + 10 * MS));
    assert!(device.uncertain.is_empty() && device.preexisting.is_none());
}

#[test]
fn holders_are_grouped_with_their_liveness() {
    let mut story = at_work();
    story.list(2 * SECOND, 1 << 20);
    story.list(3 * SECOND, 2 << 20);
    story.map(4100 * MS);
    let report = report_at(&story, 5 * SECOND, |root| {
        std::fs::remove_dir_all(root.proc.join("310")).unwrap();
    });
    assert_eq!(report.answer(), Answer::No);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn blocked_unbind_has_task_step_and_waits() {
    let mut story = at_work();
    story.map(4100 * MS);
    story.unbind(4200 * MS);
    let dead = state::DEAD | state::ATOMIC;
    story.snapshot(7 * SECOND, dead, 17, &[(128 << 10, 64 << 10)], Some((SHELL, 2600 * MS)));
    let report = report_at(&story, 7200 * MS, |_| {});
    let unbind = report.devices[0].unbind.as_ref().unwrap();
    assert!(unbind.blocked);
    assert_eq!((unbind.since_ns, unbind.step_from), (Some(4200 * MS), Some(StepFrom::Stack)));
    assert_eq!(report.answer(), Answer::No);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn hang_from_before_tracing_is_reported_by_state() {
    let mut story = Story::new();
    let dead = state::DEAD | state::ATOMIC;
    story.snapshot(7 * SECOND, dead, 16, &[(128 << 10, 64 << 10)], Some((SHELL, 2600 * MS)));
    let report = report_at(&story, 7200 * MS, |_| {});
    let unbind = report.devices[0].unbind.as_ref().unwrap();
    assert!(unbind.blocked && unbind.since.is_none() && unbind.steps_may_be_missing);
    insta::assert_snapshot!(shown(&report));
    // Without the right to read stacks, the state of the range gives the step.
    let report = report_at(&story, 7200 * MS, |root| {
        std::fs::remove_file(root.proc.join("735/task/735/stack")).unwrap();
    });
    let unbind = report.devices[0].unbind.as_ref().unwrap();
    assert_eq!(unbind.step_from, Some(StepFrom::State));
    assert!(unbind.stack.is_empty() && unbind.stack_error.is_some());
    assert_eq!(report.gaps.len(), 1, "{:?}", report.gaps);
}

#[test]
fn progressing_unbind_is_not_blocked() {
    let mut story = at_work();
    story.unbind(4200 * MS);
    let report = report_at(&story, 4380 * MS, |root| {
        // It has since reached another step.
        std::fs::write(root.proc.join("735/task/735/stack"), "").unwrap();
    });
    let unbind = report.devices[0].unbind.as_ref().unwrap();
    assert!(!unbind.blocked);
    assert_eq!(unbind.step_from, Some(StepFrom::Events));
    assert_eq!(report.answer(), Answer::Unknown);
}

/// A driver that allocates pages itself, as NVIDIA's UVM does: the pool does not count its allocations.
#[test]
fn bypassing_driver_is_named() {
    let mut story = at_work();
    story.free_queues(2 * SECOND);
    story.snapshot(3 * SECOND, state::BYPASSED, 16_388, &[], None);
    let report = report_at(&story, 5 * SECOND, |_| {});
    let device = &report.devices[0];
    let verdict = &device.can_unbind;
    assert_eq!(verdict.answer, Answer::Unknown);
    assert!(verdict.reason.starts_with("nvme allocates its memory itself"), "{}", verdict.reason);
    let references = device.ranges[0].references.map(|refs| (refs.count, refs.estimate));
    assert_eq!((device.ranges[0].pooled, references), (Some(false), Some((16_388, true))));
    let text = shown(&report);
    assert!(text.contains("live, allocated by the driver itself, about 16388"), "{text}");
    assert!(!text.contains("0 B allocated"), "{text}");
}

#[test]
fn loss_is_unknown() {
    let mut story = at_work();
    story.lose(2 * SECOND, 3 * SECOND);
    let report = report_at(&story, 5 * SECOND, |_| {});
    let device = &report.devices[0];
    assert_eq!(device.can_unbind.answer, Answer::Unknown);
    assert!(device.uncertain[0].starts_with("5 records"), "{:?}", device.uncertain);
}

#[test]
fn state_older_than_the_request_is_unknown() {
    let uncertain = |asked_ns, without_memory: bool| {
        let report = report_asked(&at_work(), 5 * SECOND, Some(asked_ns), &[], &[], |root| {
            if without_memory {
                let folder = root.sys.join("devices/pci0000:00/0000:00:1c.0/0000:03:00.0/p2pmem");
                std::fs::remove_dir_all(folder).unwrap();
            }
        });
        (report.answer(), report.devices[0].uncertain.clone())
    };
    // The state was read at 1.5 s.
    assert_eq!(uncertain(1400 * MS, false), (Answer::Yes, vec![]));
    for without_memory in [false, true] {
        let (answer, reasons) = uncertain(4 * SECOND, without_memory);
        assert_eq!(answer, Answer::Unknown);
        assert!(reasons[0].contains("not read in time"), "{reasons:?}");
    }
}

#[test]
fn unreadable_state_is_unknown() {
    let mut story = at_work();
    story.snapshot_in_vain(4500 * MS);
    let asked = |asked_ns| report_asked(&story, 5 * SECOND, Some(asked_ns), &[], &[], |_| {});
    let report = asked(4 * SECOND);
    assert_eq!(report.answer(), Answer::Unknown);
    let [reason] = &report.devices[0].uncertain[..] else { panic!("{}", shown(&report)) };
    assert!(reason.contains("could not be read completely"), "{reason}");
    // A state read before the question counts as late.
    assert_eq!(asked(4600 * MS).answer(), Answer::Unknown);
}

#[test]
fn untraced_device_is_unknown() {
    let other = DeviceAddress::from_devfn(0, 4, 0);
    let report = report_of(&at_work(), 5 * SECOND, &[DEVICE], &[other], |_| {});
    assert_eq!(report.answer(), Answer::Unknown);
    let nothing = report_of(&Story::new(), 5 * SECOND, &[], &[], |_| {});
    assert_eq!(nothing.devices[0].can_unbind.answer, Answer::Unknown, "{}", shown(&nothing));
    let without = report_of(&at_work(), 5 * SECOND, &[other], &[], |root| bind(root, "nvme"));
    assert_eq!(without.answer(), Answer::Yes, "{}", shown(&without));
    let absent = DeviceAddress::from_devfn(0, 9, 0);
    let absent = report_of(&at_work(), 5 * SECOND, &[absent], &[], |_| {});
    assert_eq!(absent.answer(), Answer::Unknown);
}

/// Gives the device without memory a driver.
fn bind(root: &p2p_trace_probe::kernel::KernelRoot, driver: &str) {
    let link = root.sys.join("devices/pci0000:00/0000:00:1c.0/0000:04:00.0/driver");
    std::os::unix::fs::symlink(format!("../../../../bus/pci/drivers/{driver}"), link).unwrap();
}

/// The driver core removes the link to the driver first; vfio-pci then waits in state S.
#[test]
fn sleeping_unbind_is_found() {
    let device = DeviceAddress::from_devfn(0, 4, 0);
    let asked = |change: &dyn Fn(&p2p_trace_probe::kernel::KernelRoot)| {
        let report = report_of(&at_work(), 5 * SECOND, &[device], &[], |root| {
            // No other task unbinds.
            std::fs::remove_dir_all(root.proc.join("735")).unwrap();
            change(root);
        });
        let verdict = &report.devices[0].can_unbind;
        (verdict.answer, verdict.reason.clone())
    };
    let unbinds = |root: &p2p_trace_probe::kernel::KernelRoot| {
        procfs::plant_task(root, 178, 178, "sh", 'S', 300);
        procfs::plant_stack(root, 178, 178, procfs::VFIO_UNBIND_STACK);
    };
    assert_eq!(asked(&|_| {}).0, Answer::Yes, "no driver is bound, and no task unbinds");
    let (unknown, reason) = asked(&unbinds);
    assert_eq!(unknown, Answer::Unknown);
    assert!(
        reason.contains("sh[178] is unbinding") && reason.contains("vfio_unregister_group_dev"),
        "{reason}"
    );
    let bound = asked(&|root| {
        unbinds(root);
        bind(root, "nvme");
    });
    assert_eq!(bound.0, Answer::Yes, "it has its driver: another device is unbound");
    let (unknown, reason) = asked(&|root| {
        std::fs::remove_file(root.proc.join("1/task/1/stack")).unwrap();
    });
    assert_eq!(unknown, Answer::Unknown);
    assert!(reason.contains("unknown whether"), "{reason}");
}

#[test]
fn observed_mapping_is_no_candidate() {
    let mut story = at_work();
    let candidates = |story: &Story| report_at(story, 5 * SECOND, |_| {}).devices[0].candidates.clone();
    let [candidate] = &candidates(&story)[..] else { panic!("the reader has it mapped") };
    assert!(matches!(&candidate.why, Why::Mapping { task, .. } if task.pid == READER.pid));
    story.map(4100 * MS);
    assert_eq!(candidates(&story), []);
}
