//! Whether this is a real-time kernel, in which all code can be preempted, including BPF programs.

#![forbid(unsafe_code)]

use super::{
    config::{KernelConfig, Setting},
    root::{KernelRoot, read_text},
};

/// Decides by the configuration, or by the version string (`uname -v`), which needs no file of the distribution.
pub(super) fn is(root: &KernelRoot, config: &KernelConfig) -> bool {
    let version_says_so = || {
        let version = read_text(&root.proc.join("sys/kernel/version")).unwrap_or_default();
        // Before 5.4 it was written with a space.
        version.replace('_', " ").contains("PREEMPT RT")
    };
    config.setting("PREEMPT_RT") == Setting::Yes || version_says_so()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn recognizes_configuration_and_version_string() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        let config = |text| KernelConfig::parse(Path::new("x"), text);
        let none = KernelConfig::default();
        assert!(!is(&root, &none));
        assert!(is(&root, &config("CONFIG_PREEMPT_RT=y\n")));
        assert!(!is(&root, &config("CONFIG_PREEMPT_RT_FULL=y\n")));
        fs::create_dir_all(root.proc.join("sys/kernel")).unwrap();
        for (version, realtime) in [
            ("#1 SMP PREEMPT_RT Debian 5.10.223-1 (2024-08-10)\n", true),
            ("#1 SMP PREEMPT RT 5.10.1-rt20\n", true),
            ("#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1\n", false),
        ] {
            fs::write(root.proc.join("sys/kernel/version"), version).unwrap();
            assert_eq!(is(&root, &none), realtime, "{version}");
        }
    }
}
