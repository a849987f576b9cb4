//! How exactly losses can be counted on this kernel.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{btf::Btf, release::Release};

/// Whether the kernel counts the runs of a program that it skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Misses {
    /// It counts them.
    Counted,
    /// It does not count all of them, so `missed` is unknown.
    Unknown,
}

/// The quality of loss accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossAccounting {
    /// Sequence numbers and counters are atomic, so programs that interrupt each other lose no records. Requires BPF's atomic
    /// fetch-add, available since Linux 5.12; without it the accounting is partial.
    pub exact: bool,
    /// Skipped fentry programs: `recursion_misses` of the program, since 5.12.
    pub fentry_misses: Misses,
    /// Skipped kprobe programs: `missed` of the link, since 6.7; without the kernel's types, assumed from 6.12 on.
    pub kprobe_misses: Misses,
}

impl LossAccounting {
    /// Decides by the kernel's own types or, without types, by its version.
    pub(crate) fn of(release: &Release, btf: Option<&Btf>) -> Self {
        let since = |major, minor| release.is_at_least(major, minor) == Some(true);
        let misses = |name, path, by_version| {
            let counted = btf
                .filter(|btf| btf.has_struct(name))
                .map_or(by_version, |btf| btf.member(name, path).is_ok());
            if counted { Misses::Counted } else { Misses::Unknown }
        };
        let fentry_misses = misses("bpf_prog_info", "recursion_misses", since(5, 12));
        Self {
            // BPF's fetch-add is not visible in the types, but came with the same release as that counter.
            exact: fentry_misses == Misses::Counted,
            fentry_misses,
            kprobe_misses: misses("bpf_link_info", "perf_event.kprobe.missed", since(6, 12)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::btf::Builder;

    fn of(release: &str) -> (bool, Misses, Misses) {
        let accounting = LossAccounting::of(&Release::parse(release), None);
        (accounting.exact, accounting.fentry_misses, accounting.kprobe_misses)
    }

    #[test]
    fn uses_the_version_without_types() {
        assert_eq!(of("5.10.223"), (false, Misses::Unknown, Misses::Unknown));
        assert_eq!(of("6.1.0"), (true, Misses::Counted, Misses::Unknown));
        assert_eq!(of("6.12.107"), (true, Misses::Counted, Misses::Counted));
        assert_eq!(of("strange"), (false, Misses::Unknown, Misses::Unknown));
    }

    #[test]
    fn types_override_the_version() {
        let mut b = Builder::new();
        let int = b.int("int", 4);
        b.structure("bpf_prog_info", 4, &[("id", int, 0)]);
        let kprobe = b.structure("", 8, &[("func", int, 0), ("missed", int, 32)]);
        let perf_event = b.structure("", 8, &[("kprobe", kprobe, 0)]);
        b.structure("bpf_link_info", 8, &[("perf_event", perf_event, 0)]);
        let btf = Btf::parse(b.build()).unwrap();
        let accounting = LossAccounting::of(&Release::parse("6.1.0"), Some(&btf));
        assert_eq!(accounting.fentry_misses, Misses::Unknown);
        assert_eq!(accounting.kprobe_misses, Misses::Counted);
    }
}
