//! The few `bpf(2)` calls that aya does not offer: running a program once, and reading counters that aya hides.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::{
    Function,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info, bpf_prog_type},
};

fn bpf(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes the attribute within the given size; the callers guarantee that its pointers are valid.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attribute),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn bpf_fd(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, attribute)?;
    // SAFETY: the command returns a new descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Runs a raw tracepoint program once on the current CPU (`BPF_PROG_TEST_RUN`; Linux 5.10 for this type).
///
/// # Errors
///
/// The kernel's error.
pub(super) fn run_once(program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zeros is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.test.prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attribute).map(drop)
}

/// A program to load for the verifier's statistics.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) kind: bpf_prog_type,
    /// For tracing programs: the attach type, and the BTF id of the function.
    pub(super) attach: Option<(bpf_attach_type, u32)>,
    pub(super) function: &'a Function,
    pub(super) license: &'a CStr,
    /// The program's own types.
    pub(super) types: BorrowedFd<'a>,
}

/// `BPF_LOG_STATS`.
const STATISTICS: u32 = 4;
/// Size of the log buffer for them.
const LOG_BYTES: usize = 64 << 10;

/// Loads a program, and returns the verifier's statistics.
///
/// # Errors
///
/// The kernel's error.
pub(super) fn statistics(load: &Load<'_>) -> io::Result<String> {
    let function = load.function;
    let (functions, lines) = (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
    let mut log = vec![0u8; LOG_BYTES];
    // SAFETY: all zeros is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: every bit pattern of the variant is valid.
    let program = unsafe { &mut attribute.__bindgen_anon_3 };
    program.prog_type = load.kind as u32;
    if let Some((kind, function)) = load.attach {
        program.expected_attach_type = kind as u32;
        program.attach_btf_id = function;
    }
    program.insns = function.instructions.as_ptr() as u64;
    program.insn_cnt = function.instructions.len() as u32;
    program.license = load.license.as_ptr() as u64;
    program.log_level = STATISTICS;
    program.log_size = log.len() as u32;
    program.log_buf = log.as_mut_ptr() as u64;
    program.prog_btf_fd = load.types.as_raw_fd() as u32;
    program.func_info_rec_size = function.func_info_rec_size as u32;
    program.func_info = functions.as_ptr() as u64;
    program.func_info_cnt = function.func_info.len() as u32;
    program.line_info_rec_size = function.line_info_rec_size as u32;
    program.line_info = lines.as_ptr() as u64;
    program.line_info_cnt = function.line_info.len() as u32;
    // The program is needed only for the statistics.
    drop(bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attribute)?);
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    Ok(String::from_utf8_lossy(&log[..end]).into_owned())
}

/// Loads the types of programs.
///
/// # Errors
///
/// The kernel's error.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.__bindgen_anon_7.btf = types.as_ptr() as u64;
    attribute.__bindgen_anon_7.btf_size = types.len() as u32;
    bpf_fd(bpf_cmd::BPF_BTF_LOAD, &mut attribute)
}

/// Reads an object's info into `info`, which may be shorter or longer than the kernel's struct; returns the number of bytes that the
/// kernel wrote.
fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<usize> {
    // SAFETY: all zeros is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.info.bpf_fd = object.as_raw_fd() as u32;
    attribute.info.info = std::ptr::from_mut(info) as u64;
    attribute.info.info_len = size_of::<T>() as u32;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    // SAFETY: the call filled this variant of the union.
    Ok(unsafe { attribute.info.info_len } as usize)
}

/// Runs of a program that the kernel skipped since it was already running on that CPU (Linux 5.12 and later for fentry and fexit);
/// `None` if the kernel does not count them.
///
/// # Errors
///
/// The kernel's error.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // SAFETY: all zeros is a valid info.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let written = read_info(program, &mut info)?;
    let end = std::mem::offset_of!(bpf_prog_info, recursion_misses) + size_of::<u64>();
    Ok((written >= end).then_some(info.recursion_misses))
}

/// Hits of a kprobe or kretprobe that the kernel dropped. Only for kernels whose `bpf_link_info` has the count (6.7 and later);
/// the length that other kernels report does not show whether they have it. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// The kernel's error.
pub(super) fn kprobe_misses(link_id: u32) -> io::Result<u64> {
    // SAFETY: all zeros is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.__bindgen_anon_6.__bindgen_anon_1.link_id = link_id;
    let link = bpf_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attribute)?;
    // SAFETY: all zeros is a valid info.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    read_info(link.as_fd(), &mut info)?;
    // SAFETY: every byte of the info is initialized, and every bit pattern is a valid number.
    Ok(unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed })
}
