//! Uses of removed memory that could not be seen: a rule that holds says so.

use super::*;
use crate::{
    rules::use_after_removal::{UNTRACED, UNTRACED_LATER},
    testing::{evaluation::evaluate, simulate::Order},
};

fn late_uses(kernel: &Kernel) -> (Answer, Vec<String>) {
    let verdict = evaluate(&kernel.elements).verdict(RuleId::UseAfterRemoval, kernel.address(0));
    (verdict.answer, verdict.reasons)
}

#[test]
fn removal_without_outstanding_memory_holds_with_a_remark() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    assert_eq!(late_uses(&kernel), (Answer::Holds, vec![]));
    kernel.unbind(0, 11);
    kernel.idle(10_000_000_000);
    assert_eq!(late_uses(&kernel), (Answer::Holds, vec![UNTRACED.to_owned()]));
}

#[test]
fn traced_teardown_holds_with_a_remark() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 4);
    kernel.tear_down(0, 11, Order::Right);
    assert_eq!(late_uses(&kernel), (Answer::Holds, vec![UNTRACED_LATER.to_owned()]));
}
