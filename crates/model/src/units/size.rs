//! Formats sizes and durations for people.

/// Formats `bytes` in the largest unit without a remainder, or with one decimal.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let step = (bytes.ilog2() / 10).clamp(1, 6);
    let unit = UNITS[step as usize - 1];
    let whole = bytes >> (10 * step);
    let rest = u128::from(bytes & ((1 << (10 * step)) - 1)) * 10;
    // Tenths are truncated, so the value never rounds up to the next unit.
    let (tenths, inexact) = (rest >> (10 * step), rest & ((1 << (10 * step)) - 1) != 0);
    match (tenths, inexact) {
        (0, false) => format!("{whole} {unit}"),
        (_, false) => format!("{whole}.{tenths} {unit}"),
        (_, true) => format!("~{whole}.{tenths} {unit}"),
    }
}

/// Formats a duration in a suitable unit.
#[must_use]
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{}.{} µs", ns / 1_000, ns / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        1_000_000_000..120_000_000_000 => format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10),
        _ => {
            let seconds = ns / 1_000_000_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_marked_as_rounded() {
        for (value, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (65536, "64 KiB"),
            (1536, "1.5 KiB"),
            (1537, "~1.5 KiB"),
            (64 << 20, "64 MiB"),
            (66_977_792, "~63.8 MiB"),
            (u64::MAX, "~15.9 EiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn durations_have_a_suitable_unit() {
        for (value, text) in [
            (999, "999 ns"),
            (15_300, "15.3 µs"),
            (13_000_000, "13.0 ms"),
            (2_700_000_000, "2.7 s"),
            (125_000_000_000, "2 min 05 s"),
        ] {
            assert_eq!(duration(value), text);
        }
    }
}
