//! Whether fentry and kprobe come to the same verdicts, where a scenario was run by both.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::product::{Answer, VerdictLine};

/// What the traces of one run of a scenario came to: the verdicts of each, in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdicts(Vec<(String, Vec<VerdictLine>)>);

impl Verdicts {
    /// Adds those of a trace.
    pub(super) fn add(&mut self, trace: &str, verdicts: &[VerdictLine]) {
        self.0.push((trace.to_owned(), verdicts.to_vec()));
    }

    /// Each verdict by trace, which may have the name of an earlier one, by device and by rule.
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

/// Expects both to have seen the same things right and the same things wrong. What one of them could not tell says nothing: which
/// programs the kernel skips is up to it.
///
/// # Errors
///
/// One says that a rule holds which the other says is violated, or the two have no verdict in common.
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
    ensure!(common > 0 || fentry.is_empty() || kprobe.is_empty(), "no verdict by fentry has one by kprobe");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(traces: &[(&str, &[(&str, &str)])]) -> Verdicts {
        let mut told = Verdicts::default();
        for (trace, verdicts) in traces {
            let line = |(rule, answer): &(&str, &str)| {
                serde_json::from_str(&format!(
                    r#"{{"rule":"{rule}","device":"0000:03:00.0","verdict":"{answer}","severity":"high","findings":0,
                        "reasons":[]}}"#
                ))
                .unwrap()
            };
            told.add(trace, &verdicts.iter().map(line).collect::<Vec<_>>());
        }
        told
    }

    #[test]
    fn what_one_sees_wrong_the_other_does_not_see_right() {
        let right = told(&[("a", &[("double-kill", "holds"), ("double-free", "holds")])]);
        let wrong = told(&[("a", &[("double-kill", "holds"), ("double-free", "violated")])]);
        check(&right, &right).unwrap();
        let error = check(&right, &wrong).unwrap_err().to_string();
        assert_eq!(error, "a: double-free of 0000:03:00.0 is holds by fentry and violated by kprobe");
        assert!(check(&wrong, &right).is_err());
    }

    #[test]
    fn what_one_could_not_tell_says_nothing() {
        let open = told(&[("a", &[("double-kill", "inconclusive")])]);
        for answer in ["holds", "violated", "not_checked"] {
            check(&open, &told(&[("a", &[("double-kill", answer)])])).unwrap();
        }
    }

    #[test]
    fn traces_of_one_name_are_told_apart_by_their_order() {
        let first: (&str, &[(&str, &str)]) = ("a", &[("double-kill", "holds")]);
        let second: (&str, &[(&str, &str)]) = ("a", &[("double-kill", "violated")]);
        check(&told(&[first, second]), &told(&[first, second])).unwrap();
        assert!(check(&told(&[first, second]), &told(&[second, first])).is_err());
    }

    #[test]
    fn nothing_in_common_is_no_agreement() {
        let one = told(&[("a", &[("double-kill", "holds")])]);
        assert!(check(&one, &told(&[("b", &[("double-kill", "holds")])])).is_err());
        check(&one, &Verdicts::default()).unwrap();
    }
}
