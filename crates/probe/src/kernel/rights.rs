//! The rights of this process: capabilities, and the kernel settings that restrict them.

#![forbid(unsafe_code)]

use std::fmt;

use super::root::{KernelRoot, read_number, read_text};

/// A capability that tracing uses (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Includes BPF and PERFMON, and may open perf events at any `perf_event_paranoid` below 4.
    SysAdmin = 21,
    /// Raises the limit on locked memory, which kernels before 5.11 charge maps to.
    SysResource = 24,
    /// Shows the addresses of kernel symbols.
    Syslog = 34,
    /// Opens perf events, and reads kernel memory from BPF programs.
    Perfmon = 38,
    /// Loads BPF programs.
    Bpf = 39,
}

impl Capability {
    /// All of them, in reporting order.
    pub const ALL: [Self; 5] = [Self::SysAdmin, Self::Bpf, Self::Perfmon, Self::Syslog, Self::SysResource];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// A set of capabilities, as the kernel's bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The set of these capabilities.
    #[cfg(test)]
    pub(crate) fn of(members: &[Capability]) -> Self {
        Self(members.iter().fold(0, |mask, &member| mask | 1 << member as u8))
    }

    /// Whether the set contains a capability.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 >> capability as u8 & 1 != 0
    }
}

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// A limit in bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

/// The rights of this process. Facts that could not be read are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The effective capabilities.
    pub capabilities: Capabilities,
    /// Whether this is the initial user namespace; capabilities apply to BPF only there.
    pub initial_user_namespace: Option<bool>,
    /// `kernel.perf_event_paranoid`; above 2, a distribution's addition, perf events need `CAP_SYS_ADMIN`.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.kptr_restrict`; 2 hides symbol addresses from all users.
    pub kptr_restrict: Option<u32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// Hard limit on locked memory.
    pub memlock: Option<Limit>,
}

impl Rights {
    /// Reads the rights of this process.
    pub(crate) fn read(root: &KernelRoot) -> Self {
        let sysctl = root.proc.join("sys/kernel");
        let own = root.proc.join("self");
        Self {
            capabilities: read_text(&own.join("status"))
                .and_then(|status| parse_effective(&status))
                .unwrap_or_default(),
            initial_user_namespace: read_text(&own.join("uid_map")).map(|map| is_identity(&map)),
            perf_event_paranoid: read_number(&sysctl.join("perf_event_paranoid")),
            kptr_restrict: read_number(&sysctl.join("kptr_restrict")),
            unprivileged_bpf_disabled: read_number(&sysctl.join("unprivileged_bpf_disabled")),
            memlock: read_text(&own.join("limits")).and_then(|limits| parse_memlock(&limits)),
        }
    }

    /// The capabilities that are missing to load tracing programs; empty if none are.
    pub fn missing_to_load(&self) -> Vec<Capability> {
        if self.capabilities.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|&capability| !self.capabilities.has(capability))
            .collect()
    }

    /// Whether kprobes may be opened, provided that programs may be loaded.
    ///
    /// Debian's default of 3 forbids `perf_event_open`, and with it kprobes, without `CAP_SYS_ADMIN`. fentry needs no perf event.
    pub fn allows_kprobes(&self) -> bool {
        self.capabilities.has(Capability::SysAdmin) || self.perf_event_paranoid.is_none_or(|level| level <= 2)
    }
}

/// Parses the `CapEff` line of `/proc/self/status`.
fn parse_effective(status: &str) -> Option<Capabilities> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(Capabilities(u64::from_str_radix(mask.trim(), 16).ok()?))
}

/// Whether a user-id map is that of the initial namespace, which maps all ids to themselves.
fn is_identity(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Parses the hard limit in the line `Max locked memory` of `/proc/self/limits`.
fn parse_memlock(limits: &str) -> Option<Limit> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match values.split_whitespace().nth(1)? {
        "unlimited" => Some(Limit::Unlimited),
        bytes => bytes.parse().ok().map(Limit::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        let status =
            "Name:\tsh\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000000c000000000\n";
        let set = parse_effective(status).unwrap();
        assert_eq!(set, Capabilities::of(&[Capability::Bpf, Capability::Perfmon]));
        assert!(set.has(Capability::Bpf) && set.has(Capability::Perfmon));
        assert!(!set.has(Capability::SysAdmin) && !set.has(Capability::Syslog));
        assert_eq!(parse_effective("CapEff:\tzz"), None);
    }

    #[test]
    fn reads_limits_and_maps() {
        let line = "Max locked memory         65536                8388608              bytes     \n";
        assert_eq!(parse_memlock(line), Some(Limit::Bytes(8388608)));
        assert_eq!(parse_memlock("Max locked memory unlimited unlimited bytes"), Some(Limit::Unlimited));
        assert_eq!(parse_memlock("Max cpu time unlimited unlimited seconds"), None);
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("         0     100000      65536\n"));
    }

    #[test]
    fn loading_needs_bpf_and_perfmon_or_sys_admin() {
        let rights =
            |members: &[Capability]| Rights { capabilities: Capabilities::of(members), ..Rights::default() };
        assert_eq!(rights(&[]).missing_to_load(), [Capability::Bpf, Capability::Perfmon]);
        assert_eq!(rights(&[Capability::Bpf]).missing_to_load(), [Capability::Perfmon]);
        assert!(rights(&[Capability::SysAdmin]).missing_to_load().is_empty());
        assert!(rights(&[Capability::Bpf, Capability::Perfmon]).missing_to_load().is_empty());
    }

    #[test]
    fn perf_event_paranoid_forbids_kprobes() {
        let mut rights = Rights { perf_event_paranoid: Some(3), ..Rights::default() };
        assert!(!rights.allows_kprobes());
        rights.perf_event_paranoid = Some(2);
        assert!(rights.allows_kprobes());
        rights.perf_event_paranoid = Some(3);
        rights.capabilities = Capabilities::of(&[Capability::SysAdmin]);
        assert!(rights.allows_kprobes());
    }
}
