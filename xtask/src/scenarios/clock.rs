//! Times of a guest, whose processors stand still whenever the host has other work to do.

use std::time::Duration;

use anyhow::{Result, ensure};

/// How long a guest processor may have stood still between two clock readings on a busy host.
const STOLEN: Duration = Duration::from_secs(1);
/// The usual bound on an idle host.
const USUAL: Duration = Duration::from_millis(100);

/// Expects something without delay: prints a delay that is longer than usual, and fails on one that no busy
/// host explains.
pub(super) fn at_once(event: &str, late: Duration) -> Result<()> {
    ensure!(late < STOLEN, "{event} {late:?} late");
    if late > USUAL {
        println!("    ({event} {late:?} late)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_delays_below_a_second() {
        assert!(at_once("the drain is", Duration::from_millis(300)).is_ok());
        let error = at_once("the drain is", Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "the drain is 1s late");
    }
}
