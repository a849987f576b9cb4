//! The time between two looks.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::drive::stop::Stop;

/// How soon a signal is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Waits from one look to the next, until SIGINT or SIGTERM.
pub(super) struct Pause {
    interval: Duration,
    stop: Stop,
}

impl Pause {
    pub(super) fn new(interval: Duration) -> io::Result<Self> {
        let stop = Stop::on_signals()?;
        Ok(Self { interval, stop })
    }

    /// Waits; false if it is time to stop.
    pub(super) fn next(&mut self) -> bool {
        let end = Instant::now() + self.interval;
        while !self.stop.is_set() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(SLICE));
        }
        false
    }
}
