//! Parses times that a user types.

use p2p_trace_model::units::Clock;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// Parses `+3.2` (seconds from the start), or `20:57`, `20:57:16` or `20:57:16.5` (the first such time of day after the
/// start). The result is in `CLOCK_BOOTTIME`.
pub(super) fn parse(text: &str, clock: &Clock, start_ns: u64) -> Option<u64> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('+') {
        return Some(start_ns.saturating_add(seconds_of(seconds)?));
    }
    let mut parts = text.split(':');
    let hour: u64 = parts.next()?.parse().ok()?;
    let minute: u64 = parts.next()?.parse().ok()?;
    let second_ns = parts.next().map_or(Some(0), seconds_of)?;
    if hour > 23 || minute > 59 || second_ns >= 60 * SECOND_NS || parts.next().is_some() {
        return None;
    }
    let wanted = (hour * 3600 + minute * 60) * SECOND_NS + second_ns;
    let start = of_day(clock, start_ns)?;
    Some(start_ns + (wanted + DAY_NS - start) % DAY_NS)
}

/// The time of day in nanoseconds, parsed from its displayed text.
fn of_day(clock: &Clock, time_ns: u64) -> Option<u64> {
    let text = clock.time_of_day(time_ns);
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let minutes = hour.parse::<u64>().ok()? * 60 + minute.parse::<u64>().ok()?;
    Some(minutes * 60 * SECOND_NS + seconds_of(second)?)
}

/// Parses seconds such as `16.5` into nanoseconds.
fn seconds_of(text: &str) -> Option<u64> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if integer.is_empty() || !is_number(integer) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    integer.parse::<u64>().ok()?.checked_mul(SECOND_NS)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::testing::status::CLOCK;

    #[test]
    fn parses_times_as_displayed() {
        // The clock shows 20:00:05 at 5 s.
        let start = 5 * SECOND_NS;
        for (text, expected) in [
            ("+0", Some(start)),
            ("+1.5", Some(start + SECOND_NS * 3 / 2)),
            ("20:00:05", Some(start)),
            ("20:00:07.25", Some(start + SECOND_NS * 9 / 4)),
            ("20:01", Some(start + 55 * SECOND_NS)),
            ("20:00:04", Some(start + DAY_NS - SECOND_NS)),
            ("", None),
            ("24:00", None),
            ("20", None),
            ("20:00:61", None),
            ("+", None),
            ("+-1", None),
            ("+99999999999999999999", None),
        ] {
            assert_eq!(parse(text, &CLOCK, start), expected, "{text}");
        }
    }
}
