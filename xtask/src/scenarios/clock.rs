//! Times of a guest, whose processors stand still whenever the machine below has something else to do.

use std::time::Duration;

use anyhow::{Result, ensure};

/// How long a processor of the guest may have stood still between two looks at the clock, on a machine that is busy.
const STOLEN: Duration = Duration::from_secs(1);
/// What an idle machine keeps to.
const USUAL: Duration = Duration::from_millis(100);

/// Expects something at once: told where it takes longer than usual, a failure where no busy machine explains it.
pub(super) fn at_once(what: &str, late: Duration) -> Result<()> {
    ensure!(late < STOLEN, "{what} {late:?} late");
    if late > USUAL {
        println!("    ({what} {late:?} late)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_explains_less_than_a_second() {
        assert!(at_once("the drain is", Duration::from_millis(300)).is_ok());
        let error = at_once("the drain is", Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "the drain is 1s late");
    }
}
