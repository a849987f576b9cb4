//! A taker is a process with its start: numbers come back.

use super::RuleId;
use crate::testing::{
    evaluation::evaluate,
    simulate::{Kernel, Order, play, task},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Two processes of one number took memory before the look at `/proc`; gives when the second was started.
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

/// Bytes of each taker, and whether it has exited.
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
fn who_has_the_number_now_has_not_exited() {
    let (mut kernel, started_ns) = allocated();
    kernel.user(|writer, time_ns| writer.exited_before(time_ns, &task(10), Some(started_ns)));
    assert_eq!(holders(kernel.clone()), [(10, 1, true), (10, 2, false), (10, 3, false), (12, 1, false)]);
    // What it takes from now on is its own, too.
    kernel.alloc(0, 10, 4);
    assert!(holders(kernel.clone()).contains(&(10, 6, false)));
    // It exits as well.
    kernel.user(|writer, time_ns| writer.gone(time_ns, &task(10)));
    assert!(holders(kernel).iter().all(|&(pid, _, gone)| gone == (pid == 10)));
}

/// In dumps of earlier versions nothing tells them apart.
#[test]
fn a_record_that_tells_no_time_is_of_all_that_was_taken_before() {
    let (mut kernel, _) = allocated();
    kernel.user(|writer, time_ns| writer.gone(time_ns, &task(10)));
    assert!(holders(kernel).iter().all(|&(pid, _, gone)| gone == (pid == 10)));
}
