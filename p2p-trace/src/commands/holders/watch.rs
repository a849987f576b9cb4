//! The pause between two reports of `--watch`.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::run::stop::Stop;

/// How soon a signal is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Waits between two reports, until SIGINT or SIGTERM.
pub(super) struct Pause {
    interval: Duration,
    stop: Stop,
}

impl Pause {
    /// Until the first report is shown, a signal ends the program at once.
    pub(super) fn before_first(interval: Duration) -> io::Result<Self> {
        let stop = Stop::before_start()?;
        Ok(Self { interval, stop })
    }

    /// The first report is shown.
    pub(super) fn started(&self) {
        self.stop.started();
    }

    /// Waits for the interval. Returns false if it is time to stop.
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
