//! The checks, one for each possible problem.

use super::{Cause, Facts, Problem, ProblemKind, TypeSource};
use crate::kernel::{
    config::Setting,
    lockdown::Lockdown,
    patching::Patching,
    rights::{Capability, Limit},
};

/// The oldest kernel that p2p-trace supports.
const OLDEST: (u32, u32) = (5, 10);
/// Bytes that maps may need on kernels that charge them to the limit on locked memory.
const MEMLOCK_WANTED: u64 = 64 << 20;

/// Runs all checks, those of the kernel first.
pub(super) fn all(facts: &Facts<'_>) -> Vec<Problem> {
    let checks = [
        check_age,
        check_realtime,
        check_p2pdma,
        check_bpf,
        check_types,
        check_cpus,
        check_lockdown,
        check_capabilities,
        check_fentry,
        check_kprobes,
        check_patching,
        check_memlock,
        check_symbols,
    ];
    checks.iter().filter_map(|check| check(facts)).collect()
}

fn check_age(facts: &Facts<'_>) -> Option<Problem> {
    let (major, minor) = OLDEST;
    (facts.release.is_at_least(major, minor) == Some(false)).then(|| {
        Problem::block(
            Cause::Kernel,
            ProblemKind::TooOld,
            format!("Linux {} is older than {major}.{minor}", facts.release),
            "boot a newer kernel",
        )
    })
}

/// Without atomic operations that return a value, a per-CPU flag keeps records apart, which works only if programs are never
/// suspended.
fn check_realtime(facts: &Facts<'_>) -> Option<Problem> {
    (facts.is_realtime && !facts.has_fetch_add).then(|| {
        Problem::block(
            Cause::Kernel,
            ProblemKind::Realtime,
            format!(
                "Linux {} is a real-time kernel (CONFIG_PREEMPT_RT) without BPF's atomic fetch-and-add (since 5.12), so \
                 programs that preempt each other would corrupt each other's records",
                facts.release
            ),
            "boot a kernel without CONFIG_PREEMPT_RT, or a newer one",
        )
    })
}

/// The functions decide; the configuration, which may belong to another build, only explains.
fn check_p2pdma(facts: &Facts<'_>) -> Option<Problem> {
    let release = facts.release;
    match (facts.has_p2pdma, facts.p2pdma_option) {
        (Some(true), _) => None,
        (_, Setting::No) => Some(Problem::block(
            Cause::Kernel,
            ProblemKind::NoP2pdma,
            format!("CONFIG_PCI_P2PDMA is not set in {release}"),
            "boot a kernel with this option (Debian kernels have it from 6.13.7 on)",
        )),
        (Some(false), _) => Some(Problem::block(
            Cause::Kernel,
            ProblemKind::NoP2pdma,
            format!("kernel {release} has no p2pdma functions"),
            "boot a kernel with CONFIG_PCI_P2PDMA (Debian kernels have it from 6.13.7 on)",
        )),
        (None, _) => Some(Problem::block(
            Cause::Unclear,
            ProblemKind::Unreadable,
            format!(
                "cannot read /proc/kallsyms or the BTF of kernel {release}, so its functions are unknown"
            ),
            "mount /proc and /sys",
        )),
    }
}

/// Tracing with a guess would miss the events of the other CPUs.
fn check_cpus(facts: &Facts<'_>) -> Option<Problem> {
    facts.possible_cpus.is_none().then(|| {
        Problem::block(
            Cause::Unclear,
            ProblemKind::Unreadable,
            "cannot read /sys/devices/system/cpu/possible, so the number of possible CPUs is unknown",
            "mount /sys",
        )
    })
}

fn check_bpf(facts: &Facts<'_>) -> Option<Problem> {
    (facts.bpf_option == Setting::No).then(|| {
        Problem::block(
            Cause::Kernel,
            ProblemKind::NoBpf,
            format!("CONFIG_BPF_SYSCALL is not set in {}", facts.release),
            "boot a kernel with this option",
        )
    })
}

fn check_types(facts: &Facts<'_>) -> Option<Problem> {
    let TypeSource::None(why) = &facts.types else {
        return None;
    };
    // If the symbols are unreadable as well, the cause is a missing /proc and /sys, not the kernel.
    facts.has_p2pdma?;
    Some(Problem::block(
        Cause::Kernel,
        ProblemKind::NoBtf,
        format!("the kernel's types are unknown ({why})"),
        "pass its BTF or vmlinux with --kernel-btf, or boot a kernel with CONFIG_DEBUG_INFO_BTF",
    ))
}

fn check_lockdown(facts: &Facts<'_>) -> Option<Problem> {
    (facts.lockdown == Lockdown::Confidentiality).then(|| {
        Problem::block(
            Cause::Rights,
            ProblemKind::Lockdown,
            "the kernel is locked down (confidentiality), so it rejects programs that read kernel memory",
            "boot with lockdown=integrity or without lockdown",
        )
    })
}

fn check_capabilities(facts: &Facts<'_>) -> Option<Problem> {
    if facts.rights.initial_user_namespace == Some(false) {
        return Some(Problem::block(
            Cause::Rights,
            ProblemKind::UserNamespace,
            "this process is in a user namespace, where capabilities do not apply to BPF",
            "run it in the initial user namespace, with sudo",
        ));
    }
    let missing = facts.rights.missing_to_load();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<_> = missing.iter().map(Capability::to_string).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    Some(Problem::block(
        Cause::Rights,
        ProblemKind::Capabilities,
        format!("{} {verb} missing", names.join(" and ")),
        "run with sudo",
    ))
}

fn check_fentry(facts: &Facts<'_>) -> Option<Problem> {
    (facts.types == TypeSource::File).then(|| {
        Problem::limit(
            ProblemKind::NoFentry,
            "the kernel provides no BTF, so fentry is not possible",
            "kprobes are used instead, which cost more",
        )
    })
}

fn check_kprobes(facts: &Facts<'_>) -> Option<Problem> {
    let fentry = facts.types == TypeSource::Kernel;
    let (cause, what, remedy) = if facts.kprobes_option == Setting::No {
        (
            Cause::Kernel,
            format!("CONFIG_KPROBE_EVENTS is not set in {}", facts.release),
            "boot a kernel with this option",
        )
    } else if facts.rights.missing_to_load().is_empty() && !facts.rights.allows_kprobes() {
        let level = facts.rights.perf_event_paranoid.unwrap_or_default();
        (
            Cause::Rights,
            format!("kernel.perf_event_paranoid is {level}, so kprobes require CAP_SYS_ADMIN"),
            "run with sudo, or set it to 2",
        )
    } else {
        return None;
    };
    Some(if fentry {
        let what = format!("{what}; only functions that fentry can attach to are traced");
        Problem::limit(ProblemKind::NoKprobes, what, remedy)
    } else {
        Problem::block(cause, ProblemKind::NoKprobes, what, remedy)
    })
}

/// fentry and live patches use the same mechanism to divert a function; before 6.0 only one of them can.
fn check_patching(facts: &Facts<'_>) -> Option<Problem> {
    if facts.patching != Patching::Exclusive || facts.types != TypeSource::Kernel {
        return None;
    }
    let has_kprobes = facts.kprobes_option != Setting::No && facts.rights.allows_kprobes();
    let remedy = if has_kprobes {
        "kprobes are used instead, which cost more but do not block live patches (--attach fentry forces fentry)"
    } else {
        "kprobes are not possible either, so live patches of traced functions fail (EBUSY) until the trace ends"
    };
    Some(Problem::limit(
        ProblemKind::Patching,
        "on this kernel (before Linux 6.0), a function cannot have both a fentry program and a live patch",
        remedy,
    ))
}

/// Kernels before 5.11 charge maps to the limit on locked memory; newer ones charge the control group.
fn check_memlock(facts: &Facts<'_>) -> Option<Problem> {
    let charged = facts.release.is_at_least(5, 11) == Some(false);
    let can_raise = facts.rights.capabilities.has(Capability::SysResource);
    match facts.rights.memlock {
        Some(Limit::Bytes(bytes)) if charged && !can_raise && bytes < MEMLOCK_WANTED => Some(Problem::limit(
            ProblemKind::Memlock,
            format!(
                "only {} KiB of memory may be locked and CAP_SYS_RESOURCE is missing, so the kernel may refuse maps",
                bytes >> 10
            ),
            "run with sudo, or raise the limit with ulimit -l",
        )),
        _ => None,
    }
}

fn check_symbols(facts: &Facts<'_>) -> Option<Problem> {
    if !facts.addresses_hidden {
        return None;
    }
    let remedy = if facts.rights.kptr_restrict.is_some_and(|level| level >= 2) {
        "set kernel.kptr_restrict to 1, and run with sudo or add CAP_SYSLOG"
    } else {
        "run with sudo or add CAP_SYSLOG"
    };
    Some(Problem::limit(
        ProblemKind::HiddenSymbols,
        "kernel symbol addresses are hidden, so callers are shown as numbers and pages cannot be recognized by address",
        remedy,
    ))
}
