//! A holder is identified by pid and start time, because pids are reused.

use super::RuleId;
use crate::testing::{
    evaluation::evaluate,
    simulate::{Kernel, Order, play, task},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Two processes with the same pid allocated memory before `/proc` was read. Returns the start time of the second one.
fn allocated() -> (Kernel, u64) {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 1);
    kernel.alloc(0, 12, 1);
    kernel.idle(SECOND_NS);
    let started_ns = kernel.now_ns;
    kernel.alloc(0, 10, 2);
    kernel.mmap(0, 10, 3);
    (kernel, started_ns)
}

/// Pid and pages of each holder, and whether it has exited.
fn holders(mut kernel: Kernel) -> Vec<(u32, u64, bool)> {
    kernel.begin(0, 11, Order::Right);
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    kernel.idle(6 * SECOND_NS);
    let run = evaluate(&kernel.elements);
    let holders = &run.only(RuleId::StalledDrain).holders;
    let mut holders: Vec<_> = holders
        .iter()
        .map(|holder| (holder.task.unwrap().pid, holder.bytes / 4096, holder.exited_since_ns.is_some()))
        .collect();
    holders.sort_unstable();
    holders
}

#[test]
fn new_process_with_the_same_pid_has_not_exited() {
    let (mut kernel, started_ns) = allocated();
    kernel.user(|writer, time_ns| writer.exited_before(time_ns, &task(10), Some(started_ns)));
    assert_eq!(holders(kernel.clone()), [(10, 1, true), (10, 2, false), (10, 3, false), (12, 1, false)]);
    // Later allocations belong to the new process, too.
    kernel.alloc(0, 10, 4);
    assert!(holders(kernel.clone()).contains(&(10, 6, false)));
    // The new process exits as well.
    kernel.user(|writer, time_ns| writer.gone(time_ns, &task(10)));
    assert!(holders(kernel).iter().all(|&(pid, _, gone)| gone == (pid == 10)));
}

/// Dumps of earlier versions do not distinguish the two processes.
#[test]
fn exit_without_a_start_time_covers_all_earlier_allocations() {
    let (mut kernel, _) = allocated();
    kernel.user(|writer, time_ns| writer.gone(time_ns, &task(10)));
    assert!(holders(kernel).iter().all(|&(pid, _, gone)| gone == (pid == 10)));
}
