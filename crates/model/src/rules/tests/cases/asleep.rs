//! A suspended machine: the clock of the records continues, but the time does not count as a stall.

use p2p_trace_common::Kind;

use super::{Answer, RuleId};
use crate::testing::{
    evaluation::evaluate,
    simulate::{Kernel, Order, play},
};

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
const STALLS: [RuleId; 2] = [RuleId::StalledDrain, RuleId::StalledUnbind];

fn tick(kernel: &mut Kernel, asleep_ns: u64) {
    kernel.user(|writer, time_ns| writer.tick_asleep(time_ns, Some(asleep_ns)));
}

/// Lets this number of seconds pass, with ticks.
fn wait(kernel: &mut Kernel, seconds: u64, asleep_ns: u64) {
    for _ in 0..4 * seconds {
        kernel.now_ns += SECOND_NS / 4;
        tick(kernel, asleep_ns);
    }
}

/// An unbind that has stopped before this step. If the step is the drain, it waits for outstanding memory.
fn begun(before: Kind) -> Kernel {
    let mut kernel = play::watched();
    tick(&mut kernel, 7 * HOUR_NS);
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, before);
    kernel
}

const STEPS: [Kind; 6] =
    [Kind::DevresRelease, Kind::Kill, Kind::Drained, Kind::Release, Kind::DevresReleased, Kind::Unbound];

#[test]
fn suspend_is_no_stall() {
    for before in STEPS {
        for tick_first in [true, false] {
            let mut kernel = begun(before);
            wait(&mut kernel, 1, 7 * HOUR_NS);
            kernel.now_ns += HOUR_NS;
            if tick_first {
                tick(&mut kernel, 8 * HOUR_NS);
            }
            // Otherwise the kernel's records arrive before the tick with the suspend time.
            while kernel.advance(0) {}
            tick(&mut kernel, 8 * HOUR_NS);
            let run = evaluate(&kernel.elements);
            assert_eq!(run.violated(), [].into(), "{before:?} {tick_first}");
            for rule in STALLS {
                assert_eq!(run.answer(rule, kernel.address(0)), Answer::Holds, "{before:?} {tick_first}");
            }
        }
    }
}

/// Time awake before and after the suspend counts, and the message shows both times.
#[test]
fn time_awake_counts_as_stall() {
    for before in STEPS {
        let mut kernel = begun(before);
        wait(&mut kernel, 3, 7 * HOUR_NS);
        kernel.now_ns += HOUR_NS;
        wait(&mut kernel, 1, 8 * HOUR_NS);
        let early = evaluate(&kernel.elements);
        assert_eq!(early.violated(), [].into(), "{before:?}");
        wait(&mut kernel, 3, 8 * HOUR_NS);
        let mut run = evaluate(&kernel.elements);
        let message = run.only(RuleId::StalledUnbind).message.clone();
        assert!(message.contains("s (excluding 60 min 00 s of suspend)"), "{message}");
        let place = kernel.elements.len();
        while kernel.advance(0) {}
        run.feed(&kernel.elements[place..]);
        let message = &run.only(RuleId::StalledUnbind).message;
        assert!(message.contains("(excluding 60 min 00 s"), "{message}");
        if before == Kind::Drained {
            let message = &run.only(RuleId::StalledDrain).message;
            assert!(message.contains("(excluding 60 min 00 s"), "{message}");
        }
    }
}

/// If ticks have no suspend times, all time counts. Dumps of earlier versions have such ticks.
#[test]
fn all_time_counts_without_suspend_times() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Drained);
    kernel.idle(20 * SECOND_NS);
    assert_eq!(evaluate(&kernel.elements).violated(), STALLS.into());
}
