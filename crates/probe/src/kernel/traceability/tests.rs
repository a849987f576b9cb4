//! The verdicts for the kernels and users that there are.

use super::*;
use crate::kernel::rights::{Capabilities, Capability, Limit};

/// Judges what root finds on a complete kernel, after a change to it.
fn judge(release: &str, change: impl FnOnce(&mut Facts<'_>, &mut Rights)) -> Traceability {
    let release = Release::parse(release);
    let mut rights = Rights {
        capabilities: Capabilities::of(&Capability::ALL),
        initial_user_namespace: Some(true),
        perf_event_paranoid: Some(3),
        kptr_restrict: Some(1),
        unprivileged_bpf_disabled: Some(2),
        memlock: Some(Limit::Bytes(64 << 10)),
    };
    let nobody = Rights::default();
    let mut facts = Facts {
        release: &release,
        p2pdma_option: Setting::Yes,
        bpf_option: Setting::Yes,
        kprobes_option: Setting::Yes,
        has_p2pdma: Some(true),
        is_realtime: false,
        has_fetch_add: true,
        patching: Patching::Shared,
        types: TypeSource::Kernel,
        lockdown: Lockdown::None,
        rights: &nobody,
        addresses_hidden: false,
        possible_cpus: Some(2),
    };
    change(&mut facts, &mut rights);
    facts.rights = &rights;
    Traceability::judge(&facts)
}

fn only(members: &[Capability]) -> Capabilities {
    Capabilities::of(members)
}

/// What stands in the way, and all lines.
fn told(traceability: &Traceability) -> String {
    let lines = traceability.problems().iter().map(|problem| {
        let mark = if problem.blocking { '!' } else { '-' };
        format!("\n{mark} {problem}")
    });
    format!("{:?}{}", traceability.cause(), lines.collect::<String>())
}

#[test]
fn a_complete_kernel_and_root() {
    let answer = judge("7.3.4+deb13-amd64", |_, _| {});
    assert_eq!(answer, Traceability::default());
    assert!(answer.is_possible());
    assert_eq!(answer.cause(), None);
}

#[test]
fn kernels_that_cannot_be_traced() {
    let debian = judge("6.1.0-56-amd64", |facts, _| {
        facts.has_p2pdma = Some(false);
        facts.p2pdma_option = Setting::No;
    });
    let no_config = judge("6.1.0", |facts, _| {
        facts.has_p2pdma = Some(false);
        facts.p2pdma_option = Setting::Unknown;
    });
    let old = judge("5.4.0-150-generic", |_, _| {});
    let realtime = judge("5.10.0-32-rt-amd64", |facts, _| {
        facts.is_realtime = true;
        facts.has_fetch_add = false;
    });
    let no_bpf = judge("6.1.0", |facts, _| facts.bpf_option = Setting::No);
    let no_btf = judge("6.1.0", |facts, _| {
        facts.types = TypeSource::None("no such file".to_owned());
    });
    let blind = judge("6.1.0", |facts, _| {
        facts.has_p2pdma = None;
        facts.p2pdma_option = Setting::Unknown;
        facts.types = TypeSource::None("no such file".to_owned());
    });
    insta::assert_snapshot!([debian, no_config, old, realtime, no_bpf, no_btf, blind].map(|answer| told(&answer)).join("\n\n"), @"
    Some(Kernel)
    ! CONFIG_PCI_P2PDMA is not set in 6.1.0-56-amd64: boot a kernel with it (Debian's have it from 6.13.7 on)

    Some(Kernel)
    ! 6.1.0 has no p2pdma functions: boot a kernel with CONFIG_PCI_P2PDMA (Debian's have it from 6.13.7 on)

    Some(Kernel)
    ! Linux 5.4.0-150-generic is older than 5.10: boot a newer kernel

    Some(Kernel)
    ! Linux 5.10.0-32-rt-amd64 is a real-time kernel (CONFIG_PREEMPT_RT), whose BPF programs are preempted, and has no atomic fetch-and-add for them (since 5.12), so that records would destroy each other: boot a kernel without CONFIG_PREEMPT_RT, or a newer one

    Some(Kernel)
    ! CONFIG_BPF_SYSCALL is not set in 6.1.0: boot a kernel with it

    Some(Kernel)
    ! the kernel's types are not known (no such file): give its BTF or its vmlinux with --kernel-btf, or boot a kernel with CONFIG_DEBUG_INFO_BTF

    Some(Unclear)
    ! neither /proc/kallsyms nor BTF of 6.1.0 can be read, so its functions are unknown: mount /proc and /sys
    ");
}

#[test]
fn users_that_may_not_trace() {
    let nobody = judge("7.3.4", |facts, rights| {
        rights.capabilities = only(&[]);
        facts.addresses_hidden = true;
    });
    let half = judge("7.3.4", |_, rights| {
        rights.capabilities = only(&[Capability::Bpf, Capability::Syslog]);
    });
    let container = judge("7.3.4", |_, rights| rights.initial_user_namespace = Some(false));
    let locked = judge("7.3.4", |facts, _| facts.lockdown = Lockdown::Confidentiality);
    insta::assert_snapshot!([nobody, half, container, locked].map(|answer| told(&answer)).join("\n\n"), @"
    Some(Rights)
    ! CAP_BPF and CAP_PERFMON are missing: run with sudo
    - the addresses of kernel symbols are hidden, so callers stay numbers and pages cannot be told by address: run with sudo or add CAP_SYSLOG

    Some(Rights)
    ! CAP_PERFMON is missing: run with sudo

    Some(Rights)
    ! this process is in a user namespace, where capabilities do not count for BPF: run it outside, with sudo

    Some(Rights)
    ! the kernel is locked down (confidentiality), so programs that read its memory are refused: boot with lockdown=integrity or none
    ");
}

#[test]
fn users_that_may_trace_with_limits() {
    let both = only(&[Capability::Bpf, Capability::Perfmon]);
    let paranoid = judge("7.3.4", |facts, rights| {
        rights.capabilities = both;
        facts.addresses_hidden = true;
    });
    let restricted = judge("7.3.4", |facts, rights| {
        rights.kptr_restrict = Some(2);
        facts.addresses_hidden = true;
    });
    let file = judge("7.3.4", |facts, _| facts.types = TypeSource::File);
    let old = judge("5.10.223", |_, rights| {
        rights.capabilities = both;
        rights.perf_event_paranoid = Some(2);
    });
    let no_kprobes = judge("7.3.4", |facts, _| facts.kprobes_option = Setting::No);
    let unpatched = judge("5.10.223", |facts, _| facts.patching = Patching::Exclusive);
    let in_the_way = judge("5.15.0", |facts, rights| {
        facts.patching = Patching::Exclusive;
        rights.capabilities = both;
    });
    insta::assert_snapshot!(
        [paranoid, restricted, file, old, no_kprobes, unpatched, in_the_way].map(|answer| told(&answer)).join("\n\n"),
        @"
        None
        - kernel.perf_event_paranoid is 3, so kprobes need CAP_SYS_ADMIN; only what fentry can attach to is traced: run with sudo, or set it to 2
        - the addresses of kernel symbols are hidden, so callers stay numbers and pages cannot be told by address: run with sudo or add CAP_SYSLOG

        None
        - the addresses of kernel symbols are hidden, so callers stay numbers and pages cannot be told by address: set kernel.kptr_restrict to 1, and run with sudo or add CAP_SYSLOG

        None
        - the kernel has no BTF of its own, so fentry is not possible: kprobes are used instead, which cost more

        None
        - only 64 KiB may be locked and CAP_SYS_RESOURCE is missing, so maps may be refused: run with sudo, or raise the limit with ulimit -l

        None
        - CONFIG_KPROBE_EVENTS is not set in 7.3.4; only what fentry can attach to is traced: boot a kernel with it

        None
        - a function that fentry is attached to cannot be live-patched on this kernel (before Linux 6.0), nor the other way round: kprobes are used instead, which cost more but are in nobody's way (--attach fentry: fentry all the same)

        None
        - kernel.perf_event_paranoid is 3, so kprobes need CAP_SYS_ADMIN; only what fentry can attach to is traced: run with sudo, or set it to 2
        - a function that fentry is attached to cannot be live-patched on this kernel (before Linux 6.0), nor the other way round: kprobes are not possible either, so live patches of the traced functions are refused (EBUSY) until the trace ends
        "
    );
}

#[test]
fn a_newer_real_time_kernel_can_be_traced() {
    assert!(judge("6.12.1-rt", |facts, _| facts.is_realtime = true).is_possible());
}

#[test]
fn without_fentry_and_kprobes_nothing_is_left() {
    let rights = judge("7.3.4", |facts, rights| {
        facts.types = TypeSource::File;
        rights.capabilities = only(&[Capability::Bpf, Capability::Perfmon]);
    });
    assert_eq!(rights.cause(), Some(Cause::Rights));
    let kernel = judge("7.3.4", |facts, _| {
        facts.types = TypeSource::File;
        facts.kprobes_option = Setting::No;
    });
    assert_eq!(kernel.cause(), Some(Cause::Kernel));
}

#[test]
fn what_is_seen_outweighs_the_configuration() {
    let stale = judge("7.3.4", |facts, _| facts.p2pdma_option = Setting::No);
    assert!(stale.is_possible());
    let wrong = judge("7.3.4", |facts, _| facts.has_p2pdma = Some(false));
    assert_eq!(wrong.cause(), Some(Cause::Kernel));
}

#[test]
fn integrity_and_unknown_lockdown_do_not_forbid() {
    for lockdown in [Lockdown::Integrity, Lockdown::Unknown] {
        assert!(judge("7.3.4", |facts, _| facts.lockdown = lockdown).is_possible());
    }
}

#[test]
fn a_kernel_that_cannot_be_traced_is_told_before_missing_rights() {
    let answer = judge("6.1.0", |facts, rights| {
        facts.has_p2pdma = Some(false);
        rights.capabilities = only(&[]);
    });
    assert_eq!(answer.cause(), Some(Cause::Kernel));
    assert_eq!(answer.obstacle().unwrap().kind, ProblemKind::NoP2pdma);
}

#[test]
fn a_problem_found_later_counts() {
    let mut answer = Traceability::default();
    answer.add(Problem::limit(ProblemKind::Hook, "x cannot be attached", "y is lost"));
    assert!(answer.is_possible());
    assert_eq!(answer.problems()[0].to_string(), "x cannot be attached: y is lost");
}
