//! Results for various kernels and users.

use super::*;
use crate::kernel::rights::{Capabilities, Capability, Limit};

/// Checks the facts that root finds on a fully equipped kernel, after a change to them.
fn assess(release: &str, change: impl FnOnce(&mut Facts<'_>, &mut Rights)) -> Traceability {
    let release = Release::parse(release);
    let mut rights = Rights {
        capabilities: Capabilities::of(&Capability::ALL),
        initial_user_namespace: Some(true),
        perf_event_paranoid: Some(3),
        kptr_restrict: Some(1),
        unprivileged_bpf_disabled: Some(2),
        memlock: Some(Limit::Bytes(64 << 10)),
    };
    let no_rights = Rights::default();
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
        rights: &no_rights,
        addresses_hidden: false,
        possible_cpus: Some(2),
    };
    change(&mut facts, &mut rights);
    facts.rights = &rights;
    Traceability::assess(&facts)
}

fn only(members: &[Capability]) -> Capabilities {
    Capabilities::of(members)
}

/// The cause, and all problems.
fn text(traceability: &Traceability) -> String {
    let lines = traceability.problems().iter().map(|problem| {
        let mark = if problem.blocking { '!' } else { '-' };
        format!("\n{mark} {problem}")
    });
    format!("{:?}{}", traceability.cause(), lines.collect::<String>())
}

#[test]
fn a_complete_kernel_and_root_have_no_problems() {
    let answer = assess("7.3.4+deb13-amd64", |_, _| {});
    assert_eq!(answer, Traceability::default());
    assert!(answer.is_possible());
    assert_eq!(answer.cause(), None);
}

#[test]
fn kernels_that_cannot_be_traced() {
    let debian = assess("6.1.0-56-amd64", |facts, _| {
        facts.has_p2pdma = Some(false);
        facts.p2pdma_option = Setting::No;
    });
    let no_config = assess("6.1.0", |facts, _| {
        facts.has_p2pdma = Some(false);
        facts.p2pdma_option = Setting::Unknown;
    });
    let old = assess("5.4.0-150-generic", |_, _| {});
    let realtime = assess("5.10.0-32-rt-amd64", |facts, _| {
        facts.is_realtime = true;
        facts.has_fetch_add = false;
    });
    let no_bpf = assess("6.1.0", |facts, _| facts.bpf_option = Setting::No);
    let no_btf = assess("6.1.0", |facts, _| {
        facts.types = TypeSource::None("no such file".to_owned());
    });
    let blind = assess("6.1.0", |facts, _| {
        facts.has_p2pdma = None;
        facts.p2pdma_option = Setting::Unknown;
        facts.types = TypeSource::None("no such file".to_owned());
    });
    insta::assert_snapshot!([debian, no_config, old, realtime, no_bpf, no_btf, blind].map(|answer| text(&answer)).join("\n\n"), @"
    Some(Kernel)
    ! CONFIG_PCI_P2PDMA is not set in 6.1.0-56-amd64: boot a kernel with this option (Debian kernels have it from 6.13.7 on)

    Some(Kernel)
    ! kernel 6.1.0 has no p2pdma functions: boot a kernel with CONFIG_PCI_P2PDMA (Debian kernels have it from 6.13.7 on)

    Some(Kernel)
    ! Linux 5.4.0-150-generic is older than 5.10: boot a newer kernel

    Some(Kernel)
    ! Linux 5.10.0-32-rt-amd64 is a real-time kernel (CONFIG_PREEMPT_RT) without BPF's atomic fetch-and-add (since 5.12), so programs that preempt each other would corrupt each other's records: boot a kernel without CONFIG_PREEMPT_RT, or a newer one

    Some(Kernel)
    ! CONFIG_BPF_SYSCALL is not set in 6.1.0: boot a kernel with this option

    Some(Kernel)
    ! the kernel's types are unknown (no such file): pass its BTF or vmlinux with --kernel-btf, or boot a kernel with CONFIG_DEBUG_INFO_BTF

    Some(Unclear)
    ! cannot read /proc/kallsyms or the BTF of kernel 6.1.0, so its functions are unknown: mount /proc and /sys
    ");
}

#[test]
fn users_without_the_rights_to_trace() {
    let unprivileged = assess("7.3.4", |facts, rights| {
        rights.capabilities = only(&[]);
        facts.addresses_hidden = true;
    });
    let partial = assess("7.3.4", |_, rights| {
        rights.capabilities = only(&[Capability::Bpf, Capability::Syslog]);
    });
    let container = assess("7.3.4", |_, rights| rights.initial_user_namespace = Some(false));
    let locked = assess("7.3.4", |facts, _| facts.lockdown = Lockdown::Confidentiality);
    insta::assert_snapshot!([unprivileged, partial, container, locked].map(|answer| text(&answer)).join("\n\n"), @"
    Some(Rights)
    ! CAP_BPF and CAP_PERFMON are missing: run with sudo
    - kernel symbol addresses are hidden, so callers are shown as numbers and pages cannot be recognized by address: run with sudo or add CAP_SYSLOG

    Some(Rights)
    ! CAP_PERFMON is missing: run with sudo

    Some(Rights)
    ! this process is in a user namespace, where capabilities do not apply to BPF: run it in the initial user namespace, with sudo

    Some(Rights)
    ! the kernel is locked down (confidentiality), so it rejects programs that read kernel memory: boot with lockdown=integrity or without lockdown
    ");
}

#[test]
fn users_that_can_trace_with_limits() {
    let both = only(&[Capability::Bpf, Capability::Perfmon]);
    let paranoid = assess("7.3.4", |facts, rights| {
        rights.capabilities = both;
        facts.addresses_hidden = true;
    });
    let restricted = assess("7.3.4", |facts, rights| {
        rights.kptr_restrict = Some(2);
        facts.addresses_hidden = true;
    });
    let file = assess("7.3.4", |facts, _| facts.types = TypeSource::File);
    let old = assess("5.10.223", |_, rights| {
        rights.capabilities = both;
        rights.perf_event_paranoid = Some(2);
    });
    let no_kprobes = assess("7.3.4", |facts, _| facts.kprobes_option = Setting::No);
    let unpatched = assess("5.10.223", |facts, _| facts.patching = Patching::Exclusive);
    let unpatchable = assess("5.15.0", |facts, rights| {
        facts.patching = Patching::Exclusive;
        rights.capabilities = both;
    });
    insta::assert_snapshot!(
        [paranoid, restricted, file, old, no_kprobes, unpatched, unpatchable].map(|answer| text(&answer)).join("\n\n"),
        @"
        None
        - kernel.perf_event_paranoid is 3, so kprobes require CAP_SYS_ADMIN; only functions that fentry can attach to are traced: run with sudo, or set it to 2
        - kernel symbol addresses are hidden, so callers are shown as numbers and pages cannot be recognized by address: run with sudo or add CAP_SYSLOG

        None
        - kernel symbol addresses are hidden, so callers are shown as numbers and pages cannot be recognized by address: set kernel.kptr_restrict to 1, and run with sudo or add CAP_SYSLOG

        None
        - the kernel provides no BTF, so fentry is not possible: kprobes are used instead, which cost more

        None
        - only 64 KiB of memory may be locked and CAP_SYS_RESOURCE is missing, so the kernel may refuse maps: run with sudo, or raise the limit with ulimit -l

        None
        - CONFIG_KPROBE_EVENTS is not set in 7.3.4; only functions that fentry can attach to are traced: boot a kernel with this option

        None
        - on this kernel (before Linux 6.0), a function cannot have both a fentry program and a live patch: kprobes are used instead, which cost more but do not block live patches (--attach fentry forces fentry)

        None
        - kernel.perf_event_paranoid is 3, so kprobes require CAP_SYS_ADMIN; only functions that fentry can attach to are traced: run with sudo, or set it to 2
        - on this kernel (before Linux 6.0), a function cannot have both a fentry program and a live patch: kprobes are not possible either, so live patches of traced functions fail (EBUSY) until the trace ends
        "
    );
}

#[test]
fn newer_real_time_kernels_can_be_traced() {
    assert!(assess("6.12.1-rt", |facts, _| facts.is_realtime = true).is_possible());
}

#[test]
fn tracing_needs_fentry_or_kprobes() {
    let rights = assess("7.3.4", |facts, rights| {
        facts.types = TypeSource::File;
        rights.capabilities = only(&[Capability::Bpf, Capability::Perfmon]);
    });
    assert_eq!(rights.cause(), Some(Cause::Rights));
    let kernel = assess("7.3.4", |facts, _| {
        facts.types = TypeSource::File;
        facts.kprobes_option = Setting::No;
    });
    assert_eq!(kernel.cause(), Some(Cause::Kernel));
}

#[test]
fn functions_override_the_configuration() {
    let stale = assess("7.3.4", |facts, _| facts.p2pdma_option = Setting::No);
    assert!(stale.is_possible());
    let wrong = assess("7.3.4", |facts, _| facts.has_p2pdma = Some(false));
    assert_eq!(wrong.cause(), Some(Cause::Kernel));
}

#[test]
fn lockdown_integrity_or_unknown_does_not_prevent_tracing() {
    for lockdown in [Lockdown::Integrity, Lockdown::Unknown] {
        assert!(assess("7.3.4", |facts, _| facts.lockdown = lockdown).is_possible());
    }
}

#[test]
fn kernel_problems_precede_missing_rights() {
    let answer = assess("6.1.0", |facts, rights| {
        facts.has_p2pdma = Some(false);
        rights.capabilities = only(&[]);
    });
    assert_eq!(answer.cause(), Some(Cause::Kernel));
    assert_eq!(answer.obstacle().unwrap().kind, ProblemKind::NoP2pdma);
}

#[test]
fn add_includes_a_later_problem() {
    let mut answer = Traceability::default();
    answer.add(Problem::limit(ProblemKind::Hook, "x cannot be attached", "y is lost"));
    assert!(answer.is_possible());
    assert_eq!(answer.problems()[0].to_string(), "x cannot be attached: y is lost");
}
