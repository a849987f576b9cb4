//! The time that each program of a task takes, by its activity.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Shorter times are not listed.
const LONG: Duration = Duration::from_secs(1);

/// The activities since the last call of [`drain`], in their order.
static ENTRIES: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// Adds an activity. Repeated activities are summed.
pub(crate) fn note(activity: &str, time: Duration) {
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    match entries.iter_mut().find(|(name, _)| name == activity) {
        Some((_, sum)) => *sum += time,
        None => entries.push((activity.to_owned(), time)),
    }
}

/// Removes and returns the long activities since the last call.
pub(crate) fn drain() -> Vec<(String, Duration)> {
    let mut entries = std::mem::take(&mut *ENTRIES.lock().unwrap_or_else(PoisonError::into_inner));
    entries.retain(|(_, time)| *time >= LONG);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_repeated_and_omits_short_activities() {
        note("unpacking a test", Duration::from_millis(600));
        note("querying a test", Duration::from_millis(900));
        note("unpacking a test", Duration::from_millis(600));
        // Other tests run programs at the same time.
        let drained: Vec<_> = drain().into_iter().filter(|(name, _)| name.ends_with("a test")).collect();
        assert_eq!(drained, [("unpacking a test".to_owned(), Duration::from_millis(1200))]);
    }
}
