//! The costs of the cases at the last change. The figures are instructions and do not depend on the host, so
//! that a change that makes the kernel side more expensive is noticed immediately.

use super::{innocent, report::Row, speed};

/// The kernel of the figures, and its release.
pub(crate) const LABEL: &str = "7.3";
pub(crate) const KERNEL: &str = "7.3.4+deb13-amd64";

/// Tolerance: the difference between builds of the same sources, as a share of a figure.
const MARGIN: f64 = 0.05;

/// Case, and instructions added to a pair.
const ADDED: [(&str, f64); 7] = [
    ("floor-fentry", 289.0),
    ("fentry", 893.0),
    ("kprobe", 1929.0),
    ("filtered", 383.0),
    ("stacks", 8291.0),
    ("stacks-3", 4875.0),
    ("armed", 893.0),
];

/// Case, peer that does the same work, and the maximum that the case may add as a multiple of the peer's
/// figure in the same run.
const PEERS: [(&str, &str, f64); 1] = [("stacks-3", "bpftrace-stacks-3", 1.2)];

/// Names of the cases with an expectation: a figure, or no lost event. The cost of innocent reads takes too
/// long to measure each time.
pub(crate) fn cases() -> Vec<String> {
    let figures = ADDED.iter().map(|(case, _)| *case);
    let speeds = speed::CASES.iter().map(|(case, _)| *case);
    let peers = PEERS.iter().map(|(_, peer, _)| *peer);
    figures.chain(peers).chain(speeds).map(str::to_owned).collect()
}

/// Deviations from the expectations, in sentences.
pub(crate) fn deviations(rows: &[Row]) -> Vec<String> {
    let added_by = |case| rows.iter().find(|row| row.case == case).and_then(|row| row.added);
    let mut found = Vec::new();
    for (case, expected) in ADDED {
        match added_by(case) {
            None => found.push(format!("{case} was not measured")),
            Some(added) if (added - expected).abs() > expected * MARGIN => {
                let trend = if added > expected { "more" } else { "less" };
                found.push(format!(
                    "{case} adds {added:.0} instructions to a pair, over 5 % {trend} than {expected:.0}"
                ));
            }
            Some(_) => {}
        }
    }
    for (case, peer, limit) in PEERS {
        // Not every host has the peer.
        if let Some((added, of_peer)) = added_by(case).zip(added_by(peer))
            && added > of_peer * limit
        {
            found.push(format!("{case} adds {added:.0} instructions to a pair, {peer} {of_peer:.0}"));
        }
    }
    for (case, _) in innocent::CASES {
        let measured = rows.iter().find(|row| row.case == case).and_then(|row| row.innocent);
        let reasons = measured.map(|innocent| innocent.deviations()).unwrap_or_default();
        found.extend(reasons.iter().map(|reason| format!("{case}: {reason}")));
    }
    let is_peer = |row: &Row| PEERS.iter().any(|(_, peer, _)| *peer == row.case);
    let lost = rows.iter().filter(|row| row.lost > 0 && !is_peer(row));
    found.extend(lost.map(|row| format!("{} lost {} events", row.case, row.lost)));
    found
}

#[cfg(test)]
mod tests {
    use super::super::innocent::Innocent;
    use super::super::lab::{Events, Measured};
    use super::*;

    fn rows(change: impl Fn(&str, f64) -> f64) -> Vec<Row> {
        let measured = |pair: f64| Measured { instructions_per_pair: Some(pair), ..Measured::default() };
        let untraced = Row::new("untraced", KERNEL, measured(478.0), None);
        let mut rows: Vec<_> = ADDED
            .iter()
            .map(|(case, added)| {
                let pair = 478.0 + change(case, *added);
                Row::new(case, KERNEL, measured(pair), Some(&untraced))
            })
            .collect();
        rows.insert(0, untraced);
        rows.extend(innocent::CASES.iter().map(|(case, _)| {
            let innocent = Some(Innocent { untraced: 1000.0, traced: 1001.0, armed: 1100.0, empty: 1050.0 });
            Row::new(case, KERNEL, Measured { innocent, ..Measured::default() }, None)
        }));
        rows
    }

    #[test]
    fn reports_a_cheaper_peer() {
        let mut rows = rows(|_, added| added);
        let measured = Measured { instructions_per_pair: Some(478.0 + 4000.0), ..Measured::default() };
        rows.push(Row::new("bpftrace-stacks-3", KERNEL, measured, Some(&rows[0])));
        assert_eq!(deviations(&rows), ["stacks-3 adds 4875 instructions to a pair, bpftrace-stacks-3 4000"]);
    }

    #[test]
    fn reports_expensive_innocent_reads() {
        let mut rows = rows(|_, added| added);
        let last = rows.len() - 1;
        rows[last].innocent =
            Some(Innocent { untraced: 1000.0, traced: 1006.0, armed: 1100.0, empty: 1050.0 });
        let found = deviations(&rows);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("innocent-1024: a read takes 1006.0 instructions"), "{found:?}");
    }

    #[test]
    fn accepts_figures_within_the_margin() {
        assert_eq!(deviations(&rows(|_, added| added * 1.04)), Vec::<String>::new());
        assert_eq!(deviations(&rows(|_, added| added * 0.96)), Vec::<String>::new());
    }

    #[test]
    fn reports_deviations_in_both_directions() {
        let expensive = rows(|case, added| if case == "fentry" { added + 50.0 } else { added });
        assert_eq!(
            deviations(&expensive),
            ["fentry adds 943 instructions to a pair, over 5 % more than 893"]
        );
        let cheaper = rows(|case, added| if case == "kprobe" { 1000.0 } else { added });
        assert_eq!(
            deviations(&cheaper),
            ["kprobe adds 1000 instructions to a pair, over 5 % less than 1929"]
        );
    }

    #[test]
    fn reports_missing_cases_and_losses() {
        let mut rows = rows(|_, added| added);
        rows.retain(|row| row.case != "armed");
        let lossy = Measured {
            instructions_per_pair: Some(1376.0),
            events: Some(Events { delivered: 9, lost: 1, reader_ns: None }),
            ..Measured::default()
        };
        rows[2] = Row::new("fentry", KERNEL, lossy, Some(&rows[0]));
        assert_eq!(deviations(&rows), ["armed was not measured", "fentry lost 1 events"]);
    }
}
