//! When the machine was suspended: records are dated by `CLOCK_BOOTTIME`, which goes on meanwhile, and nothing else does.

use std::collections::VecDeque;

/// Suspensions that are kept; of older ones nothing is known any more.
const MAX_SLEEPS: usize = 64;
/// Less is what lies between the readings of two clocks.
const LEAST_NS: u64 = 10_000_000;

/// Between two ticks the machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// The tick before it.
    pub from_ns: u64,
    /// The tick behind it.
    pub to_ns: u64,
    /// For so long.
    pub asleep_ns: u64,
}

/// A time between two moments, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The machine was awake for so long.
    pub awake_ns: u64,
    /// It was suspended for so long.
    pub asleep_ns: u64,
}

/// What ticks tell of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspensions {
    sleeps: VecDeque<Sleep>,
    /// The latest tick that told how long the machine had been suspended by then, and that.
    latest: Option<(u64, u64)>,
    /// The latest tick was such a one: of what is behind it, it is not known how much of it the machine was awake.
    known_until_ns: Option<u64>,
}

impl Suspensions {
    /// A tick; `asleep_ns`: how long the machine had been suspended since it was started.
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

    /// What lies between two times, as far as it is known: while ticks tell, not beyond the latest.
    pub(super) fn passed(&self, from_ns: u64, to_ns: u64) -> Passed {
        let to_ns = self.known_until_ns.map_or(to_ns, |known_ns| to_ns.min(known_ns));
        let all_ns = to_ns.saturating_sub(from_ns);
        let within = |sleep: &Sleep| {
            let (first_ns, last_ns) = (sleep.from_ns.max(from_ns), sleep.to_ns.min(to_ns));
            // At which end of it, is not known.
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
    fn what_passed_while_suspended_is_told_apart() {
        let mut asleep = Suspensions::default();
        asleep.tick(10 * S, Some(100 * S));
        asleep.tick(11 * S, Some(100 * S + 1000));
        assert_eq!(passed(&asleep, 5, 11), (6, 0), "what was before the first tick is not of it");
        assert_eq!(passed(&asleep, 5, 3000), (6, 0), "no tick has told of what is behind");
        asleep.tick(3011 * S, Some(3099 * S));
        assert_eq!(passed(&asleep, 5, 3011), (7, 2999));
        assert_eq!(passed(&asleep, 3011, 3011), (0, 0));
        assert_eq!(passed(&asleep, 2011, 3011), (0, 1000));
        asleep.tick(3013 * S, Some(3099 * S));
        assert_eq!(passed(&asleep, 3011, 3013), (2, 0));
        asleep.tick(3014 * S, None);
        assert_eq!(passed(&asleep, 3011, 3020), (9, 0), "ticks of an earlier version tell nothing");
    }

    #[test]
    fn the_latest_suspensions_are_kept() {
        let mut asleep = Suspensions::default();
        for number in 0..200 {
            asleep.tick(number * 2 * S, Some(number * S));
        }
        assert_eq!(asleep.sleeps().count(), MAX_SLEEPS);
        assert_eq!(passed(&asleep, 378, 398), (10, 10));
    }
}
