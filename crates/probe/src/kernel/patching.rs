//! Whether a function can be live-patched while a BPF program is attached to it.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    btf::Btf,
    config::{KernelConfig, Setting},
    release::Release,
};

/// Who may attach to a kernel function at the same time as BPF's trampolines, which fentry and fexit use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Patching {
    /// A live patch and a trampoline can share a function.
    Shared,
    /// Only the first one can attach: before Linux 6.0 a trampoline diverts calls as a live patch does, and only one of them may
    /// (`FTRACE_OPS_FL_IPMODIFY`); the other one fails with `EBUSY`.
    Exclusive,
    /// This kernel does not support live patches.
    Never,
}

impl Patching {
    /// Decides by the kernel's own types, since distributions backport features, and without types by its version.
    pub(crate) fn of(release: &Release, btf: Option<&Btf>, config: &KernelConfig) -> Self {
        // The member that makes sharing possible (commit 53cd885bc5c3).
        let by_type = btf
            .filter(|btf| btf.has_struct("ftrace_ops"))
            .map(|btf| btf.member("ftrace_ops", "ops_func").is_ok());
        if by_type.unwrap_or_else(|| release.is_at_least(6, 0) != Some(false)) {
            Self::Shared
        } else if config.setting("LIVEPATCH") == Setting::No {
            Self::Never
        } else {
            Self::Exclusive
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::btf::Builder;

    fn of(release: &str, btf: Option<&Btf>, config: &str) -> Patching {
        Patching::of(&Release::parse(release), btf, &KernelConfig::parse(Path::new("x"), config))
    }

    fn btf(members: &[(&str, u32, u32)]) -> Btf {
        let mut types = Builder::new();
        types.structure("ftrace_ops", 16, members);
        Btf::parse(types.build()).unwrap()
    }

    #[test]
    fn trampolines_are_shared_since_6_0() {
        let livepatch = "CONFIG_LIVEPATCH=y\n";
        assert_eq!(of("5.19.0", None, livepatch), Patching::Exclusive);
        assert_eq!(of("6.0.0", None, livepatch), Patching::Shared);
        assert_eq!(of("5.10.223", None, "CONFIG_X=y\n"), Patching::Never);
        assert_eq!(of("6.1.0", None, "CONFIG_X=y\n"), Patching::Shared);
        let unknown = Patching::of(&Release::parse("5.10.0"), None, &KernelConfig::default());
        assert_eq!(unknown, Patching::Exclusive, "if the configuration cannot be read");
    }

    #[test]
    fn types_override_the_version() {
        let livepatch = "CONFIG_LIVEPATCH=y\n";
        let with = btf(&[("ops_func", 0, 0)]);
        assert_eq!(of("5.14.0-570.el9", Some(&with), livepatch), Patching::Shared);
        assert_eq!(of("6.1.0", Some(&btf(&[("func", 0, 0)])), livepatch), Patching::Exclusive);
    }
}
