//! Suspensions of the machine. Records have times of `CLOCK_BOOTTIME`, which continues during suspend, while
//! all tasks stop.

use std::collections::VecDeque;

/// Limit on the suspensions kept. Older ones are dropped.
const MAX_SLEEPS: usize = 64;
/// Minimum length of a suspension. Less is the delay between the readings of two clocks.
const LEAST_NS: u64 = 10_000_000;

/// A suspension between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// The tick before it.
    pub from_ns: u64,
    /// The tick after it.
    pub to_ns: u64,
    /// Its length.
    pub asleep_ns: u64,
}

/// The time between two moments, split by the state of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Time that the machine was awake.
    pub awake_ns: u64,
    /// Time that it was suspended.
    pub asleep_ns: u64,
}

/// The suspensions shown by ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspensions {
    sleeps: VecDeque<Sleep>,
    /// The latest tick with the total time suspended since boot, and that total.
    latest: Option<(u64, u64)>,
    /// The time of the latest tick, if it had this total. It is unknown how much of the time after it the
    /// machine was awake.
    known_until_ns: Option<u64>,
}

impl Suspensions {
    /// Processes a tick. `asleep_ns` is the total time suspended since boot.
    pub(super) fn tick(&mut self, time_ns: u64, asleep_ns: Option<u64>) {
        self.known_until_ns = asleep_ns.map(|_| time_ns);
        let Some(asleep_ns) = asleep_ns else { return };
        let before = self.latest.get_or_insert((time_ns, asleep_ns));
        let (from_ns, slept_ns) = (before.0, asleep_ns.saturating_sub(before.1));
        before.0 = time_ns;
        if slept_ns < LEAST_NS {
            return;
        }
        before.1 = asleep_ns;
        if self.sleeps.len() == MAX_SLEEPS {
            self.sleeps.pop_front();
        }
        self.sleeps.push_back(Sleep { from_ns, to_ns: time_ns, asleep_ns: slept_ns });
    }

    pub(super) fn sleeps(&self) -> impl Iterator<Item = Sleep> {
        self.sleeps.iter().copied()
    }

    pub(super) const fn latest_total(&self) -> Option<(u64, u64)> {
        self.latest
    }

    /// Splits the time between two moments, as far as ticks show it: not beyond the latest tick.
    pub(super) fn passed(&self, from_ns: u64, to_ns: u64) -> Passed {
        let to_ns = self.known_until_ns.map_or(to_ns, |known_ns| to_ns.min(known_ns));
        let all_ns = to_ns.saturating_sub(from_ns);
        let within = |sleep: &Sleep| {
            let (first_ns, last_ns) = (sleep.from_ns.max(from_ns), sleep.to_ns.min(to_ns));
            // Where within its interval the machine was suspended is unknown.
            sleep.asleep_ns.min(last_ns.saturating_sub(first_ns))
        };
        let asleep_ns = self.sleeps.iter().map(within).fold(0, u64::saturating_add).min(all_ns);
        Passed { awake_ns: all_ns - asleep_ns, asleep_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn passed(asleep: &Suspensions, from_s: u64, to_s: u64) -> (u64, u64) {
        let Passed { awake_ns, asleep_ns } = asleep.passed(from_s * S, to_s * S);
        (awake_ns / S, asleep_ns / S)
    }

    #[test]
    fn splits_time_into_awake_and_suspended() {
        let mut asleep = Suspensions::default();
        asleep.tick(10 * S, Some(100 * S));
        asleep.tick(11 * S, Some(100 * S + 1000));
        assert_eq!(passed(&asleep, 5, 11), (6, 0), "time before the first tick counts as awake");
        assert_eq!(passed(&asleep, 5, 3000), (6, 0), "time after the latest tick is unknown");
        asleep.tick(3011 * S, Some(3099 * S));
        assert_eq!(passed(&asleep, 5, 3011), (7, 2999));
        assert_eq!(passed(&asleep, 3011, 3011), (0, 0));
        assert_eq!(passed(&asleep, 2011, 3011), (0, 1000));
        asleep.tick(3013 * S, Some(3099 * S));
        assert_eq!(passed(&asleep, 3011, 3013), (2, 0));
        asleep.tick(3014 * S, None);
        assert_eq!(passed(&asleep, 3011, 3020), (9, 0), "ticks of an earlier version have no total");
    }

    #[test]
    fn keeps_the_latest_suspensions() {
        let mut asleep = Suspensions::default();
        for number in 0..200 {
            asleep.tick(number * 2 * S, Some(number * S));
        }
        assert_eq!(asleep.sleeps().count(), MAX_SLEEPS);
        assert_eq!(passed(&asleep, 378, 398), (10, 10));
    }
}
