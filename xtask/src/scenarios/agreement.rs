//! Whether fentry and kprobe lead to the same verdicts, where a scenario ran with both.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::product::{Answer, VerdictLine};

/// The verdicts of each trace of one run of a scenario, in the order in which the traces ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdicts(Vec<(String, Vec<VerdictLine>)>);

impl Verdicts {
    /// Adds the verdicts of a trace.
    pub(super) fn add(&mut self, trace: &str, verdicts: &[VerdictLine]) {
        self.0.push((trace.to_owned(), verdicts.to_vec()));
    }

    /// Each answer by trace, repetition of the trace's name, device and rule.
    fn answers(&self) -> BTreeMap<(&str, usize, String, &str), Answer> {
        let mut answers = BTreeMap::new();
        for (at, (trace, verdicts)) in self.0.iter().enumerate() {
            let again = self.0[..at].iter().filter(|(earlier, _)| earlier == trace).count();
            for verdict in verdicts {
                let (device, rule) = (verdict.device.0.to_string(), verdict.rule.name());
                answers.insert((trace.as_str(), again, device, rule), verdict.verdict);
            }
        }
        answers
    }
}

/// Expects both to agree. An open answer of either one says nothing: which programs the kernel skips is up to
/// the kernel.
///
/// # Errors
///
/// One says that a rule holds and the other that it is violated, or the two have no verdict in common.
pub(super) fn check(fentry: &Verdicts, kprobe: &Verdicts) -> Result<()> {
    let (fentry, kprobe) = (fentry.answers(), kprobe.answers());
    let mut common = 0;
    for (key, &one) in &fentry {
        let Some(&other) = kprobe.get(key) else { continue };
        common += 1;
        let (trace, _, device, rule) = key;
        let is_open = |answer| matches!(answer, Answer::Inconclusive | Answer::NotChecked);
        ensure!(
            one == other || is_open(one) || is_open(other),
            "{trace}: {rule} of {device} is {} by fentry and {} by kprobe",
            one.name(),
            other.name()
        );
    }
    ensure!(
        common > 0 || fentry.is_empty() || kprobe.is_empty(),
        "fentry and kprobe have no verdict in common"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(traces: &[(&str, &[(&str, &str)])]) -> Verdicts {
        let mut all = Verdicts::default();
        for (trace, lines) in traces {
            let line = |(rule, answer): &(&str, &str)| {
                serde_json::from_str(&format!(
                    r#"{{"rule":"{rule}","device":"0000:03:00.0","verdict":"{answer}","severity":"high","findings":0,
                        "reasons":[]}}"#
                ))
                .unwrap()
            };
            all.add(trace, &lines.iter().map(line).collect::<Vec<_>>());
        }
        all
    }

    #[test]
    fn rejects_holds_against_violated() {
        let right = verdicts(&[("a", &[("double-kill", "holds"), ("double-free", "holds")])]);
        let wrong = verdicts(&[("a", &[("double-kill", "holds"), ("double-free", "violated")])]);
        check(&right, &right).unwrap();
        let error = check(&right, &wrong).unwrap_err().to_string();
        assert_eq!(error, "a: double-free of 0000:03:00.0 is holds by fentry and violated by kprobe");
        assert!(check(&wrong, &right).is_err());
    }

    #[test]
    fn open_answers_agree_with_any() {
        let open = verdicts(&[("a", &[("double-kill", "inconclusive")])]);
        for answer in ["holds", "violated", "not_checked"] {
            check(&open, &verdicts(&[("a", &[("double-kill", answer)])])).unwrap();
        }
    }

    #[test]
    fn traces_of_one_name_are_matched_by_order() {
        let first: (&str, &[(&str, &str)]) = ("a", &[("double-kill", "holds")]);
        let second: (&str, &[(&str, &str)]) = ("a", &[("double-kill", "violated")]);
        check(&verdicts(&[first, second]), &verdicts(&[first, second])).unwrap();
        assert!(check(&verdicts(&[first, second]), &verdicts(&[second, first])).is_err());
    }

    #[test]
    fn requires_a_common_verdict() {
        let one = verdicts(&[("a", &[("double-kill", "holds")])]);
        assert!(check(&one, &verdicts(&[("b", &[("double-kill", "holds")])])).is_err());
        check(&one, &Verdicts::default()).unwrap();
    }
}
