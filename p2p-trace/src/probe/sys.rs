//! The few `bpf(2)` calls that aya does not offer: run a program once, and read counters that it hides.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};

fn bpf(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes the attribute within the size given; what it points to is checked
    // by the callers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attribute),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn bpf_fd(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, attribute)?;
    // SAFETY: the command returns a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Runs a raw tracepoint program once, here and now (`BPF_PROG_TEST_RUN`; Linux 5.10 for this type).
///
/// # Errors
///
/// Whatever the kernel answers.
pub(super) fn run_once(program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zeroes is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.test.prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attribute).map(drop)
}

/// Reads an object's info into `info`, which may be shorter or longer than what this kernel knows; returns
/// the number of bytes that it wrote.
fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<usize> {
    // SAFETY: all zeroes is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.info.bpf_fd = object.as_raw_fd() as u32;
    attribute.info.info = std::ptr::from_mut(info) as u64;
    attribute.info.info_len = size_of::<T>() as u32;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    // SAFETY: the call filled this variant of the union.
    Ok(unsafe { attribute.info.info_len } as usize)
}

/// Runs of a program that the kernel skipped since it was running on that CPU already (Linux 5.12 and later
/// for fentry and fexit); `None` where the kernel does not say.
///
/// # Errors
///
/// Whatever the kernel answers.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // SAFETY: all zeroes is a valid info.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let written = read_info(program, &mut info)?;
    let end = std::mem::offset_of!(bpf_prog_info, recursion_misses) + size_of::<u64>();
    Ok((written >= end).then_some(info.recursion_misses))
}

/// Hits of a kprobe or kretprobe that the kernel dropped. Only for kernels whose `bpf_link_info` has the
/// count (6.7 and later): the length that others report does not tell. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// Whatever the kernel answers.
pub(super) fn kprobe_misses(link_id: u32) -> io::Result<u64> {
    // SAFETY: all zeroes is a valid attribute.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.__bindgen_anon_6.__bindgen_anon_1.link_id = link_id;
    let link = bpf_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attribute)?;
    // SAFETY: all zeroes is a valid info.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    read_info(link.as_fd(), &mut info)?;
    // SAFETY: every byte of the info is initialised, and every bit pattern is a number.
    Ok(unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed })
}
