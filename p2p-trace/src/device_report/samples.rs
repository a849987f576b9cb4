//! Reports for tests: a busy device, and one whose unbind is blocked.

use p2p_trace_model::{
    event::names::{Bdf, RecordId},
    names::Hex,
    state::HolderKind,
};
use p2p_trace_probe::kernel::tasks::{Liveness, UnbindStep};

use super::report::*;

fn task(comm: &str, pid: u32) -> TaskLine {
    TaskLine { pid, tgid: pid, comm: comm.into() }
}

fn record(seq: u64) -> RecordId {
    RecordId(p2p_trace_model::event::Id { run: 0x0123_4567_89ab_cdef, cpu: 1, seq })
}

fn device(text: &str) -> Bdf {
    text.parse().map(Bdf).unwrap()
}

/// The two queues of an NVMe driver.
pub(crate) fn queues() -> Holder {
    Holder {
        kind: HolderKind::Allocation,
        count: 2,
        references: 2,
        bytes: 128 << 10,
        allocated_by: Some(task("kworker/u8:1", 29)),
        process: Liveness::Alive,
        exited_ns: None,
        cgroup: Some("/".into()),
        cgroup_id: Some(1),
        caller: Some("nvme_alloc_queue+0x177 [nvme]".into()),
        caller_addr: Some(Hex(0xffff_ffff_c012_3177)),
        oldest: "2026-11-22T18:00:01.000000000Z".into(),
        oldest_ns: 1_000_000_000,
        newest_ns: 1_100_000_000,
        age_ns: 4_000_000_000,
        record: record(2),
        by_driver: Some(true),
        unsure: false,
    }
}

/// Buffers of an NVMe target, which is another module.
pub(crate) fn target() -> Holder {
    Holder {
        kind: HolderKind::ScatterList,
        count: 3,
        references: 3,
        bytes: 12 << 10,
        allocated_by: Some(task("kworker/1:2H", 310)),
        process: Liveness::Alive,
        cgroup: None,
        cgroup_id: None,
        caller: Some("nvmet_req_alloc_sgls+0x8f [nvmet]".into()),
        caller_addr: Some(Hex(0xffff_ffff_c022_208f)),
        oldest: "2026-11-22T18:00:03.500000000Z".into(),
        oldest_ns: 3_500_000_000,
        newest_ns: 4_900_000_000,
        age_ns: 1_500_000_000,
        record: record(10),
        by_driver: Some(false),
        ..queues()
    }
}

/// A mapping by a process that has since exited.
pub(crate) fn mapping() -> Holder {
    Holder {
        kind: HolderKind::Mmap,
        count: 1,
        references: 16,
        bytes: 64 << 10,
        allocated_by: Some(task("p2pdio", 726)),
        process: Liveness::Exited,
        exited_ns: Some(4_800_000_000),
        cgroup: Some("/user.slice/user-0.slice/session-1.scope".into()),
        cgroup_id: Some(4711),
        caller: None,
        caller_addr: None,
        oldest: "2026-11-22T18:00:02.000000000Z".into(),
        oldest_ns: 2_000_000_000,
        newest_ns: 2_000_000_000,
        age_ns: 3_000_000_000,
        record: record(6),
        by_driver: None,
        unsure: false,
    }
}

/// Memory allocated before tracing.
pub(crate) fn preexisting() -> Preexisting {
    let run = |addr, size| RunReport { addr: Hex(addr), size };
    Preexisting {
        bytes: 132 << 10,
        mapped_max: 0,
        runs: vec![run(0xff11_da51_7400_0000, 128 << 10), run(0xff11_da51_7404_0000, 4 << 10)],
        runs_omitted: 0,
    }
}

/// An unbind that waits for references.
pub(crate) fn unbind() -> UnbindReport {
    let step = |kind: &str, time: &str, time_ns, seq| StepLine {
        kind: kind.into(),
        time: time.into(),
        time_ns,
        record: record(seq),
    };
    UnbindReport {
        blocked: true,
        since: Some("2026-11-22T18:00:02.200000000Z".into()),
        since_ns: Some(2_200_000_000),
        waiting_ns: Some(2_600_000_000),
        step: Some(UnbindStep::WaitForDrain),
        step_from: Some(StepFrom::Stack),
        task: Some(task("sh", 735)),
        stack: [
            "memunmap_pages+0x87",
            "release_nodes+0x36",
            "devres_release_all+0x8c",
            "device_unbind_cleanup+0xe",
            "device_release_driver_internal+0x1cc",
            "unbind_store+0xa1",
        ]
        .map(Into::into)
        .to_vec(),
        stack_error: None,
        steps_may_be_missing: false,
        steps: vec![
            step("unbind", "2026-11-22T18:00:02.200000000Z", 2_200_000_000, 3),
            step("driver_remove", "2026-11-22T18:00:02.210000000Z", 2_210_000_000, 5),
            step("unmap_mappings", "2026-11-22T18:00:02.350000000Z", 2_350_000_000, 7),
            step("kill", "2026-11-22T18:00:02.400000000Z", 2_400_000_000, 9),
        ],
    }
}

fn range(state: RangeState, allocated: u64) -> RangeReport {
    RangeReport {
        pgmap: Hex(0xffff_8881_0345_6000),
        range_start: Some(Hex(0xf400_0000)),
        range_end: Some(Hex(0xf7ff_ffff)),
        size: Some(64 << 20),
        bar: Some(2),
        state,
        allocated: Some(allocated),
        allocated_ns: Some(4_990_000_000),
        pooled: Some(true),
        references: None,
        residual: None,
    }
}

/// Busy: the driver's queues, a target's lists, and memory allocated before tracing.
pub(crate) fn busy() -> DeviceReport {
    let allocated = (128 << 10) + (12 << 10) + (132 << 10);
    DeviceReport {
        device: device("0000:03:00.0"),
        life_cycle: LifeCycle::Pages,
        names: vec!["nvme0".into()],
        driver: Some("nvme".into()),
        size: Some(64 << 20),
        allocated: Some(allocated),
        published: Some(true),
        ranges: vec![range(RangeState::Live, allocated)],
        holders: vec![queues(), target()],
        preexisting: Some(preexisting()),
        unbind: None,
        candidates: Vec::new(),
        uncertain: Vec::new(),
        can_unbind: CanUnbind {
            answer: Answer::No,
            reason:
                "it would wait for 12 KiB held by kworker/1:2H[310] at nvmet_req_alloc_sgls+0x8f [nvmet] \
                     (scatter list)"
                    .into(),
            waits_for: vec![
                "12 KiB held by kworker/1:2H[310] at nvmet_req_alloc_sgls+0x8f [nvmet] (scatter list)".into(),
            ],
        },
    }
}

/// Its unbind waits for the pages of a process that has exited.
pub(crate) fn blocked() -> DeviceReport {
    let residual = Residual {
        count: 18,
        known: 16,
        unknown_min: 0,
        unknown_max: 0,
        unexplained_min: 2,
        unexplained_max: 2,
    };
    let wait = "64 KiB mapped by p2pdio[726]: an unbind revokes the mapping, but pages pinned by I/O in flight block it, \
                and pins cannot be observed";
    DeviceReport {
        device: device("0000:04:00.0"),
        life_cycle: LifeCycle::Pages,
        names: vec!["nvme1".into()],
        published: None,
        allocated: Some(64 << 10),
        ranges: vec![RangeReport {
            residual: Some(residual),
            ..range(RangeState::Killed, 64 << 10)
        }],
        holders: vec![mapping()],
        preexisting: None,
        unbind: Some(unbind()),
        candidates: vec![
            Candidate {
                why: Why::Mapping {
                    task: task("p2pdio", 730),
                    bytes: 64 << 10,
                    deleted: false,
                },
                reason: "p2pdio[730] has 64 KiB of its memory mapped".into(),
            },
            Candidate {
                why: Why::Waiting {
                    task: task("p2pdio", 731),
                    frame: "__blkdev_direct_IO_simple+0x1c2".into(),
                },
                reason: "p2pdio[731] waits uninterruptibly in direct I/O (__blkdev_direct_IO_simple+0x1c2), for an \
                         unknown device"
                    .into(),
            },
        ],
        uncertain: vec!["5 records were lost between 18:00:02 and 18:00:03".into()],
        can_unbind: CanUnbind {
            answer: Answer::No,
            reason: "an unbind is blocked already: waiting for the last reference to a range (memunmap_pages)"
                .into(),
            waits_for: vec![wait.into()],
        },
        ..busy()
    }
}

/// Both, observed by a running tracer.
pub(crate) fn report() -> Report {
    Report {
        format: FORMAT,
        source: Source::Live {
            pid: 700,
            since: "2026-11-22T18:00:00.500000000Z".into(),
            since_ns: 500_000_000,
        },
        time: "2026-11-22T18:00:05.000000000Z".into(),
        time_ns: 5_000_000_000,
        kernel: "7.3.4+deb13-amd64".into(),
        devices: vec![busy(), blocked()],
        gaps: vec!["cannot read the mappings of 3 processes: CAP_SYS_PTRACE is required".into()],
    }
}
