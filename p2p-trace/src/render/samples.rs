//! Findings and verdicts for tests of the output.

use p2p_trace_model::{
    event::{DeviceAddress, Id, Range, Task},
    holders::Holder,
    rules::{Answer, Finding, RuleId, Verdict},
    state::HolderKind,
};

/// Their device.
pub(crate) const DEVICE: DeviceAddress = DeviceAddress::from_devfn(0, 3, 0);

const fn id(seq: u64) -> Id {
    Id { run: 0x0123_4567_89ab_cdef, cpu: 1, seq }
}

/// `p2pdio`, with a name that must be escaped on a terminal.
const TASK: Task = Task { pid: 612, tgid: 611, comm: *b"p2pdio\x1b[2J\0\0\0\0\0\0" };

fn holder(kind: HolderKind, task: Option<Task>, caller: Option<u64>) -> Holder {
    Holder {
        kind,
        task,
        caller,
        cgroup: task.map(|_| 42),
        references: 1,
        bytes: 65536,
        since_ns: 4_000_000_000,
        record: id(2),
        newest_ns: 4_000_000_000,
        unsure: false,
        count: 1,
        exited_since_ns: None,
    }
}

/// An ongoing drain that waits for three holders, one of which has exited and one of which is unknown.
pub(crate) fn stall() -> Finding {
    let many = Holder {
        references: 16,
        exited_since_ns: Some(4_500_000_000),
        ..holder(HolderKind::Mmap, Some(TASK), None)
    };
    Finding {
        number: 1,
        rule: RuleId::StalledDrain,
        severity: RuleId::StalledDrain.spec().severity,
        device: DEVICE,
        range: Some(Range { start: 0xf800_0000, end: 0xfbff_ffff }),
        pgmap: Some(0xffff_8881_0000_0000),
        start_ns: 5_000_000_000,
        end_ns: None,
        occurrences: 1,
        message: "range 0xf8000000-0xfbffffff (64 MiB) of 0000:03:00.0 has not drained for 5.0 s".to_owned(),
        advice: "look at the holders of the memory",
        evidence: vec![id(5), id(7)],
        holders: vec![
            holder(HolderKind::Allocation, Some(TASK), Some(0x220)),
            many,
            holder(HolderKind::ScatterList, None, Some(0x260)),
        ],
        holders_omitted: 2,
        withdrawn: None,
        stack: vec![0x10, 0x230, 0x250],
    }
}

/// The same stall after its end.
pub(crate) fn ended_stall() -> Finding {
    Finding { end_ns: Some(12_345_678_900), ..stall() }
}

/// A use of removed memory without a holder, whose range and stack are unknown.
pub(crate) fn late_use() -> Finding {
    Finding {
        number: 2,
        rule: RuleId::UseAfterRemoval,
        severity: RuleId::UseAfterRemoval.spec().severity,
        range: None,
        pgmap: None,
        end_ns: Some(5_000_000_000),
        message: "p2pdio (pid 612) mapped removed memory of 0000:03:00.0".to_owned(),
        advice: "look at the caller",
        evidence: (0..8).map(id).collect(),
        holders: Vec::new(),
        holders_omitted: 0,
        ..stall()
    }
}

/// Verdicts with each answer for one device.
pub(crate) fn verdicts() -> Vec<Verdict> {
    let verdict = |rule, answer, reasons: &[&str], findings| Verdict {
        rule,
        device: DEVICE,
        answer,
        reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
        findings,
    };
    let lost = &["3 hot records were lost"][..];
    vec![
        verdict(RuleId::RemovedBeforeDrained, Answer::Holds, &[], 0),
        verdict(RuleId::DrainedAfterRemoval, Answer::Holds, &[], 0),
        verdict(RuleId::UseAfterRemoval, Answer::Holds, &["not enabled: virt_to_bus"], 0),
        verdict(RuleId::UnmatchedFree, Answer::Inconclusive, lost, 0),
        verdict(RuleId::DoubleFree, Answer::Inconclusive, lost, 0),
        verdict(
            RuleId::SizeMismatch,
            Answer::Inconclusive,
            &["hook free could not be attached", "3 hot records were lost"],
            0,
        ),
        verdict(RuleId::StalledDrain, Answer::Violated, &[], 2),
        verdict(
            RuleId::MapImbalance,
            Answer::NotChecked,
            &["this kernel does not have the function of the hook unmap_sg"],
            0,
        ),
    ]
}
