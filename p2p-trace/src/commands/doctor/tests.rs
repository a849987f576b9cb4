//! The complete report, on fake kernels in a folder.

use std::fs;
use std::path::Path;

use p2p_trace_probe::testing::{btf::Builder, sysfs::plant};

use super::*;
use crate::render::doctor::{KernelSideReport, MessageReport, Method};

/// The relevant lines of a guest kernel's configuration.
const CONFIG: &str = include_str!("../../../../crates/probe/tests/fixtures/config-6.12.txt");
const STATUS_ROOT: &str = "Name:\tdoctor\nCapEff:\t000001ffffffffff\n";
const STATUS_BPF: &str = "Name:\tdoctor\nCapEff:\t000000c000000000\n";

/// A guest with peer-to-peer memory, as root sees it.
fn complete(folder: &Path) -> KernelRoot {
    let root = KernelRoot::at(folder);
    for path in [
        "proc/self",
        "proc/sys/kernel",
        "sys/kernel/btf",
        "sys/kernel/security",
        "sys/devices/system/cpu",
        "boot",
    ] {
        fs::create_dir_all(folder.join(path)).unwrap();
    }
    plant(&root);
    let mut types = Builder::new();
    let int = types.int("int", 4);
    types.function("pci_alloc_p2pmem", int, &[]);
    types.structure("bpf_prog_info", 4, &[("recursion_misses", int, 0)]);
    let files: [(&str, &[u8]); 12] = [
        ("proc/self/status", STATUS_ROOT.as_bytes()),
        ("proc/self/uid_map", b"         0          0 4294967295\n"),
        (
            "proc/self/limits",
            b"Max locked memory         8388608              8388608              bytes     \n",
        ),
        ("proc/sys/kernel/osrelease", b"6.12.107-p2pdma\n"),
        ("proc/sys/kernel/perf_event_paranoid", b"3\n"),
        ("proc/sys/kernel/kptr_restrict", b"0\n"),
        ("proc/sys/kernel/unprivileged_bpf_disabled", b"2\n"),
        ("proc/kallsyms", include_bytes!("../../../../crates/probe/tests/fixtures/kallsyms-6.12.txt")),
        ("sys/kernel/btf/vmlinux", &types.build()),
        ("sys/kernel/security/lockdown", b"[none] integrity confidentiality\n"),
        ("sys/devices/system/cpu/possible", b"0-1\n"),
        ("boot/config-6.12.107-p2pdma", CONFIG.as_bytes()),
    ];
    for (path, content) in files {
        fs::write(folder.join(path), content).unwrap();
    }
    root
}

fn hooks() -> Vec<HookReport> {
    let hook =
        |hook: &str, required, symbol: Option<&str>, method, reason: Option<&str>, lost: &str| HookReport {
            hook: hook.to_owned(),
            required,
            symbol: symbol.map(Into::into),
            method,
            reason: reason.map(Into::into),
            lost_without: lost.to_owned(),
        };
    vec![
        hook("pci_alloc_p2pmem", true, Some("pci_alloc_p2pmem"), Method::Fentry, None, "allocations"),
        hook(
            "page_free",
            true,
            Some("p2pdma_page_free"),
            Method::Kprobe,
            Some("fentry: EBUSY"),
            "page frees",
        ),
        hook("release", true, None, Method::None, Some("no such function"), "the end of a pool is not seen"),
        hook("map_type", false, None, Method::None, Some("no such function"), "mappings by provider"),
    ]
}

/// The text of the report, without the folder's name.
fn text(folder: &Path, root: &KernelRoot, hooks: Vec<HookReport>) -> (String, Exit) {
    let kernel = Kernel::collect(root, None).unwrap();
    let (report, exit) = DoctorReport::new(&kernel, hooks);
    (report.to_string().replace(folder.to_str().unwrap(), ""), exit)
}

#[test]
fn a_complete_kernel_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    let (text, exit) = text(dir.path(), &root, hooks());
    assert_eq!(exit, Exit::Success);
    insta::assert_snapshot!(text);
}

#[test]
fn a_user_with_two_capabilities() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    fs::write(root.proc.join("self/status"), STATUS_BPF).unwrap();
    let hidden = "0000000000000000 T _stext\n0000000000000000 T pci_alloc_p2pmem\n";
    fs::write(root.proc.join("kallsyms"), hidden).unwrap();
    let (text, exit) = text(dir.path(), &root, Vec::new());
    assert_eq!(exit, Exit::Success);
    insta::assert_snapshot!(text);
}

#[test]
fn a_kernel_without_p2pdma() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    fs::write(root.proc.join("sys/kernel/osrelease"), "6.1.0-56-amd64\n").unwrap();
    let config = CONFIG.replace("CONFIG_PCI_P2PDMA=y", "# CONFIG_PCI_P2PDMA is not set");
    fs::write(root.boot.join("config-6.1.0-56-amd64"), config).unwrap();
    fs::write(root.proc.join("kallsyms"), "ffffffff81000000 T _stext\n").unwrap();
    fs::write(root.btf(), Builder::new().build()).unwrap();
    fs::remove_dir_all(root.sys.join("bus")).unwrap();
    let (text, exit) = text(dir.path(), &root, hooks());
    assert_eq!(exit, Exit::NotTraceable);
    insta::assert_snapshot!(text);
}

#[test]
fn a_host_where_only_the_release_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let root = KernelRoot::at(dir.path());
    let error = Kernel::collect(&root, None).unwrap_err().to_string();
    assert!(error.ends_with("proc/sys/kernel/osrelease: is /proc mounted?"), "{error}");
    fs::create_dir_all(root.proc.join("sys/kernel")).unwrap();
    fs::write(root.proc.join("sys/kernel/osrelease"), "6.1.0\n").unwrap();
    let (text, exit) = text(dir.path(), &root, Vec::new());
    assert_eq!(exit, Exit::Error);
    insta::assert_snapshot!(text);
}

#[test]
fn statements_of_the_kernel_side_are_shown_and_made_safe() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    let kernel = Kernel::collect(&root, None).unwrap();
    let (mut report, _) = DoctorReport::new(&kernel, hooks());
    let section = |report: &DoctorReport| {
        let text = report.to_string();
        let section = text.split("\nKernel side ").nth(1).unwrap();
        section.split("\n\n").next().unwrap().to_owned()
    };
    let messages = MessageReport { level: Level::Warn, text: "kill: \x1b[2J".into() };
    report.kernel_side =
        Some(KernelSideReport { level: Level::Debug, messages: vec![messages], omitted: 3, error: None });
    assert_eq!(
        section(&report),
        "(attached for a moment, at level debug)\n  warn   kill: \\x1b[2J\n  and 3 more messages"
    );
    let silent = KernelSideReport { level: Level::Trace, messages: vec![], omitted: 0, error: None };
    report.kernel_side = Some(silent.clone());
    assert!(section(&report).ends_with("no read failed, and nothing was omitted"));
    report.kernel_side = Some(KernelSideReport { error: Some("cannot attach".into()), ..silent });
    assert!(section(&report).ends_with("trace)\n  cannot attach"));
}

#[test]
fn the_report_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    let kernel = Kernel::collect(&root, None).unwrap();
    let (report, _) = DoctorReport::new(&kernel, hooks());
    let json = serde_json::to_string_pretty(&report).unwrap();
    let back: DoctorReport = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string_pretty(&back).unwrap(), json);
    insta::assert_snapshot!(json.replace(dir.path().to_str().unwrap(), ""));
}

#[test]
fn nothing_can_be_traced_if_no_hook_can_be_attached() {
    let dir = tempfile::tempdir().unwrap();
    let root = complete(dir.path());
    let none = |hook: HookReport| HookReport { method: Method::None, ..hook };
    let none: Vec<_> = hooks().into_iter().map(none).collect();
    let (report, exit) = text(dir.path(), &root, none);
    assert_eq!(exit, Exit::NotTraceable);
    assert!(report.contains("cannot trace here: no hook can be attached"), "{report}");
    assert_ne!(text(dir.path(), &root, hooks()).1, Exit::NotTraceable);
}
