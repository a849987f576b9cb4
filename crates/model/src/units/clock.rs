//! Formats the times of events for people.

use serde::{Deserialize, Serialize};

/// `CLOCK_BOOTTIME`, which events carry, and the time of day at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME` in nanoseconds since 1970.
    pub realtime_ns: u64,
    /// Offset of local time from UTC in seconds, positive east.
    pub utc_offset_s: i32,
}

const NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

impl Clock {
    /// Formats a time as RFC 3339 in UTC with nanoseconds.
    #[must_use]
    pub fn rfc3339(&self, time_ns: u64) -> String {
        let (days, seconds, ns) = split(self.realtime(time_ns));
        let (year, month, day) = civil(days);
        let [hour, minute, second] = time_of(seconds);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ns:09}Z")
    }

    /// The second since 1970, to be reused when many times of the same second are written, and the
    /// nanoseconds in it.
    #[must_use]
    pub const fn second_of(&self, time_ns: u64) -> (i64, i64) {
        let ns = self.realtime(time_ns);
        (ns.div_euclid(NS), ns.rem_euclid(NS))
    }

    /// Formats the local time of day with microseconds.
    #[must_use]
    pub fn time_of_day(&self, time_ns: u64) -> String {
        let (_, seconds, ns) =
            split(self.realtime(time_ns).saturating_add(i64::from(self.utc_offset_s) * NS));
        let [hour, minute, second] = time_of(seconds);
        format!("{hour:02}:{minute:02}:{second:02}.{:06}", ns / 1000)
    }

    /// Nanoseconds since 1970, clamped to the valid range if the clock is wrong.
    const fn realtime(&self, time_ns: u64) -> i64 {
        let passed = time_ns.wrapping_sub(self.boottime_ns).cast_signed();
        self.realtime_ns.cast_signed().saturating_add(passed)
    }
}

/// Days since 1970, seconds of the day, and nanoseconds of the second.
const fn split(ns: i64) -> (i64, i64, i64) {
    let seconds = ns.div_euclid(NS);
    (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S), ns.rem_euclid(NS))
}

/// Hour, minute, and second of a second of the day.
const fn time_of(second: i64) -> [i64; 3] {
    [second / 3600, (second / 60).rem_euclid(60), second.rem_euclid(60)]
}

/// Year, month, and day in the Gregorian calendar, computed with years that begin in March, so that the leap
/// day comes last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock whose times are nanoseconds since 1970.
    const EPOCH: Clock = Clock { boottime_ns: 0, realtime_ns: 0, utc_offset_s: 0 };

    #[test]
    fn formats_known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000001Z"),
            (951_782_400, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000001Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(EPOCH.rfc3339(seconds * 1_000_000_000 + 1), text);
        }
    }

    #[test]
    fn boot_time_is_converted_to_time_of_day() {
        let clock = Clock { boottime_ns: 5_000_000_000, realtime_ns: 1_000_000_000, utc_offset_s: -3600 };
        assert_eq!(clock.rfc3339(5_000_000_000), "1970-01-01T00:00:01.000000000Z");
        assert_eq!(clock.rfc3339(3_999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(clock.time_of_day(5_000_001_500), "23:00:01.000001");
    }

    #[test]
    fn consecutive_days_have_consecutive_dates() {
        let mut before = civil(-800_000);
        for days in -799_999..800_000 {
            let date = civil(days);
            let next_day = date == (before.0, before.1, before.2 + 1);
            let next_month = date == (before.0, before.1 + 1, 1);
            let next_year = date == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{before:?} then {date:?}");
            before = date;
        }
    }
}
