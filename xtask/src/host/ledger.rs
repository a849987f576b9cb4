//! What took long: each program that a task runs, by what it did.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is quicker is not worth a line.
const LONG: Duration = Duration::from_secs(1);

/// What was done since it was asked last, in its order.
static ENTRIES: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// Enters what was done. What is done several times becomes one entry.
pub(crate) fn note(what: &str, time: Duration) {
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    match entries.iter_mut().find(|(name, _)| name == what) {
        Some((_, sum)) => *sum += time,
        None => entries.push((what.to_owned(), time)),
    }
}

/// Gives what took long since this was called last.
pub(crate) fn take() -> Vec<(String, Duration)> {
    let mut entries = std::mem::take(&mut *ENTRIES.lock().unwrap_or_else(PoisonError::into_inner));
    entries.retain(|(_, time)| *time >= LONG);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_twice_is_summed_and_what_is_quick_is_omitted() {
        note("unpacking a test", Duration::from_millis(600));
        note("asking a test", Duration::from_millis(900));
        note("unpacking a test", Duration::from_millis(600));
        // Other tests run programs meanwhile.
        let allocated: Vec<_> = take().into_iter().filter(|(name, _)| name.ends_with("a test")).collect();
        assert_eq!(allocated, [("unpacking a test".to_owned(), Duration::from_millis(1200))]);
    }
}
