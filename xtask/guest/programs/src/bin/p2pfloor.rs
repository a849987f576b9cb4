//! Attaches empty programs to `pci_alloc_p2pmem` and `pci_free_p2pmem`, or to a list of functions: the cost
//! of a tracer that does nothing.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya_obj::btf::{Btf, BtfKind};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use clap::{Parser, ValueEnum};

/// Attach empty programs, until killed.
#[derive(Debug, Parser)]
struct Options {
    /// Method to attach
    how: How,
    /// List of attachments, a line of method and function each; by default the functions that allocate and
    /// free p2p memory
    #[arg(long, requires = "ready")]
    list: Option<PathBuf>,
    /// Create this file once everything is attached
    #[arg(long)]
    ready: Option<PathBuf>,
}

/// The method to attach.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// fexit and fentry
    Fentry,
    /// kprobe and kretprobe on the first function, kprobe on the second
    Kprobe,
    /// Not empty and elsewhere: a kprobe on a function that everything calls, with a slow program
    Busy,
}

const ALLOC: &str = "pci_alloc_p2pmem";
const FREE: &str = "pci_free_p2pmem";
/// `r0 = 0; exit`.
const EMPTY: [u64; 2] = [0xb7, 0x95];
/// Frees of all kinds of allocations call it, in every context.
const BUSY: &str = "kfree";
/// `r1 = 2000; do r1 -= 1; while (r1 != 0); r0 = 0; exit`.
const COUNT_DOWN: [u64; 5] = [2000 << 32 | 0x1b7, 1 << 32 | 0x117, 0xfffe_0155, 0xb7, 0x95];
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";
/// `PERF_EVENT_IOC_ENABLE` and `PERF_EVENT_IOC_SET_BPF`.
const ENABLE: libc::c_ulong = 0x2400;
const SET_BPF: libc::c_ulong = 0x4004_2408;

fn main() -> Result<()> {
    let options = Options::parse();
    let attached = match options.how {
        _ if let Some(list) = &options.list => listed(list)?,
        How::Fentry => {
            let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
            vec![
                traced(&btf, ALLOC, bpf_attach_type::BPF_TRACE_FEXIT)?,
                traced(&btf, FREE, bpf_attach_type::BPF_TRACE_FENTRY)?,
            ]
        }
        How::Kprobe => {
            vec![probed(ALLOC, false, &EMPTY)?, probed(ALLOC, true, &EMPTY)?, probed(FREE, false, &EMPTY)?]
        }
        How::Busy => vec![probed(BUSY, false, &COUNT_DOWN)?],
    };
    if let Some(ready) = &options.ready {
        fs::write(ready, "")?;
    }
    println!("attached");
    io::stdout().flush()?;
    hold(&attached)
}

/// Holds the attachments until killed.
fn hold(attached: &[OwnedFd]) -> ! {
    loop {
        std::hint::black_box(attached);
        std::thread::park();
    }
}

/// Attaches an empty program for each line.
fn listed(list: &Path) -> Result<Vec<OwnedFd>> {
    let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
    let attach = |line: &str| match line.split_once(' ') {
        Some(("fentry", function)) => traced(&btf, function, bpf_attach_type::BPF_TRACE_FENTRY),
        Some(("fexit", function)) => traced(&btf, function, bpf_attach_type::BPF_TRACE_FEXIT),
        Some(("kprobe", function)) => probed(function, false, &EMPTY),
        Some(("kretprobe", function)) => probed(function, true, &EMPTY),
        _ => bail!("invalid line {line}: expected a method and a function"),
    };
    fs::read_to_string(list)?.lines().map(attach).collect()
}

/// Attaches an empty fentry or fexit program.
fn traced(btf: &Btf, function: &str, point: bpf_attach_type) -> Result<OwnedFd> {
    let id = btf
        .id_by_type_name_kind(function, BtfKind::Func)
        .with_context(|| format!("BTF has no {function}"))?;
    let program = load(bpf_prog_type::BPF_PROG_TYPE_TRACING, point, id, &EMPTY)?;
    // SAFETY: all zeroes is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attribute).with_context(|| format!("cannot trace {function}"))
}

/// Attaches a kprobe or kretprobe program.
fn probed(function: &str, at_return: bool, code: &[u64]) -> Result<OwnedFd> {
    let kind = bpf_prog_type::BPF_PROG_TYPE_KPROBE;
    let program = load(kind, bpf_attach_type::BPF_CGROUP_INET_INGRESS, 0, code)?;
    let event = perf_event(function, at_return).with_context(|| format!("cannot probe {function}"))?;
    control(event.as_fd(), SET_BPF, libc::c_ulong::from(program.as_raw_fd().cast_unsigned()))?;
    control(event.as_fd(), ENABLE, 0)?;
    Ok(event)
}

fn load(kind: bpf_prog_type, point: bpf_attach_type, function: u32, code: &[u64]) -> Result<OwnedFd> {
    // SAFETY: all zeroes is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: this variant of the union is the one that the command below reads.
    let program = unsafe { &mut attribute.__bindgen_anon_3 };
    program.prog_type = kind as u32;
    program.expected_attach_type = point as u32;
    program.attach_btf_id = function;
    program.insns = code.as_ptr() as u64;
    program.insn_cnt = code.len() as u32;
    program.license = LICENSE.as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attribute).context("cannot load a program")
}

fn bpf(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads and writes the attribute within the given size, and the data that it points to
    // outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attribute),
            size_of::<bpf_attr>(),
        )
    };
    owned(result)
}

/// A probe of the kernel's `kprobe` event source.
fn perf_event(function: &str, at_return: bool) -> Result<OwnedFd> {
    const SOURCE: &str = "/sys/bus/event_source/devices/kprobe";
    /// `PERF_FLAG_FD_CLOEXEC`.
    const CLOEXEC: libc::c_ulong = 8;
    let kind: u32 = fs::read_to_string(format!("{SOURCE}/type"))?.trim().parse()?;
    let name = std::ffi::CString::new(function)?;
    // `struct perf_event_attr` as 16 words: type and size first, `config1` in word 7; later words are zero.
    let mut attribute = [0u64; 16];
    attribute[0] = u64::from(kind) | (size_of_val(&attribute) as u64) << 32;
    attribute[1] = u64::from(at_return);
    attribute[7] = name.as_ptr() as u64;
    // SAFETY: the attribute has the size that it names, and the name outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_perf_event_open, attribute.as_ptr(), -1, 0, -1, CLOEXEC) };
    Ok(owned(result)?)
}

fn control(event: BorrowedFd<'_>, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both requests take a number.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
