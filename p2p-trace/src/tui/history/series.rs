//! Samples of the totals, one per second.

use std::collections::VecDeque;

use p2p_trace_model::{pipeline::Pipeline, state::Device};

/// The maximum number of samples: one hour.
const MAX_SAMPLES: usize = 3600;
const SECOND_NS: u64 = 1_000_000_000;

/// The totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The time (`CLOCK_BOOTTIME`).
    pub(crate) time_ns: u64,
    /// Events until then.
    pub(crate) events: u64,
    /// Records lost until then.
    pub(crate) lost: u64,
    /// Allocated bytes at that time.
    pub(crate) bytes: u64,
    /// Outstanding references at that time.
    pub(crate) references: u64,
}

impl Sample {
    pub(super) fn of(pipeline: &Pipeline, time_ns: u64) -> Self {
        let held = |device: &Device| {
            let held = device.held_in_all();
            (held.bytes.saturating_add(device.preexisting_bytes()), held.references)
        };
        let (bytes, references) = pipeline
            .model()
            .devices()
            .map(held)
            .fold((0u64, 0u64), |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)));
        Self { time_ns, events: pipeline.tally().events(), lost: pipeline.tally().lost(), bytes, references }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Series {
    samples: VecDeque<Sample>,
}

impl Series {
    /// Takes a sample if at least a second has passed since the last one.
    pub(super) fn observe(&mut self, now_ns: u64, sample: impl FnOnce() -> Sample) {
        let is_due = |last: &Sample| now_ns.saturating_sub(last.time_ns) >= SECOND_NS;
        if self.samples.back().is_none_or(is_due) {
            if self.samples.len() == MAX_SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(sample());
        }
    }

    /// Events per second since the latest sample that is at least half a second old.
    pub(crate) fn per_second(&self, now_ns: u64, events: u64) -> u64 {
        let age = |sample: &Sample| now_ns.saturating_sub(sample.time_ns);
        let base = self.samples.iter().rev().find(|sample| age(sample) >= SECOND_NS / 2);
        base.map_or(0, |base| {
            let count = u128::from(events.saturating_sub(base.events));
            let rate = count * u128::from(SECOND_NS) / u128::from(age(base));
            u64::try_from(rate).unwrap_or(u64::MAX)
        })
    }

    /// The samples, oldest first.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_once_per_second_and_computes_rate() {
        let mut series = Series::default();
        assert_eq!(series.per_second(5, 100), 0);
        for tenth in 0..35 {
            let time_ns = tenth * SECOND_NS / 10;
            series.observe(time_ns, || Sample { time_ns, events: tenth * 50, ..Sample::default() });
        }
        let times: Vec<_> = series.samples().iter().map(|sample| sample.time_ns / SECOND_NS).collect();
        assert_eq!(times, [0, 1, 2, 3]);
        assert_eq!(series.per_second(3 * SECOND_NS + SECOND_NS / 2, 1750), 500);
    }
}
