//! The system calls and kernel interfaces the runner needs.

use std::{
    fs,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use anyhow::{Context as _, Result, bail};

/// A shared mapping of an mmapable map.
pub struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the memory is shared with the kernel and only read, by volatile loads.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub fn new(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let len = len.next_multiple_of(4096);
        // SAFETY: a fresh read-only mapping of a map's file descriptor.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            bail!(
                "mmap of {len} bytes of a map: {}",
                std::io::Error::last_os_error()
            );
        }
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    /// The 8-byte word at byte `at`.
    #[inline]
    pub fn word(&self, at: usize) -> u64 {
        debug_assert!(at + 8 <= self.len);
        // SAFETY: inside the mapping and aligned; volatile since the kernel writes it.
        unsafe { self.base.add(at).cast::<u64>().read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

pub fn now(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: plain output parameter.
    unsafe { libc::clock_gettime(clock, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

pub fn pin(cpu: usize) {
    // SAFETY: a zeroed set is a valid empty set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the `n`-th cheap system call.
#[inline]
pub fn cheap(n: usize) {
    const CALLS: [(libc::c_long, libc::c_long); 4] = [
        (libc::SYS_umask, 0o22),
        (libc::SYS_getpgid, 0),
        (libc::SYS_getsid, 0),
        (libc::SYS_sched_get_priority_max, 0),
    ];
    // SAFETY: they take a number at most.
    unsafe { libc::syscall(CALLS[n].0, CALLS[n].1) };
}

/// The kernel functions behind [`cheap`], and one that interrupts them.
pub const FUNCTIONS: [&str; 5] = [
    "__x64_sys_umask",
    "__x64_sys_getpgid",
    "__x64_sys_getsid",
    "__x64_sys_sched_get_priority_max",
    "hrtimer_interrupt",
];

/// `recursion_misses` of a program, from the kernel's `bpf_prog_info` (0 where the kernel has none).
pub fn recursion_misses(fd: BorrowedFd<'_>) -> u64 {
    let mut info = [0u8; 232];
    let attr: [u64; 2] = [
        fd.as_raw_fd() as u64 | (info.len() as u64) << 32,
        info.as_mut_ptr() as u64,
    ];
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD (15) writes at most `info.len()` bytes.
    unsafe { libc::syscall(libc::SYS_bpf, 15, attr.as_ptr(), size_of_val(&attr)) };
    u64::from_ne_bytes(info[208..216].try_into().unwrap_or_default())
}

/// The byte offset of a member of a struct, from the running kernel's BTF.
pub fn member_offset(of: &str, member: &str) -> Result<u64> {
    let data = fs::read("/sys/kernel/btf/vmlinux").context("reading the kernel's BTF")?;
    let u32_at =
        |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]) as usize;
    let (header, types, types_len, strings) = (u32_at(4), u32_at(8), u32_at(12), u32_at(16));
    let name = |at: usize| {
        let tail = &data[header + strings + at..];
        &tail[..tail.iter().position(|&b| b == 0).unwrap_or(0)]
    };
    let (mut at, end) = (header + types, header + types + types_len);
    while at < end {
        let info = u32_at(at + 4);
        let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
        let body = at + 12;
        if kind == 4 && name(u32_at(at)) == of.as_bytes() {
            for i in 0..count {
                let m = body + i * 12;
                if name(u32_at(m)) == member.as_bytes() {
                    let bits = if info >> 31 == 1 {
                        u32_at(m + 8) & 0xff_ffff
                    } else {
                        u32_at(m + 8)
                    };
                    return Ok(bits as u64 / 8);
                }
            }
        }
        at = body
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => count * 12,
                6 | 13 => count * 8,
                _ => 0,
            };
    }
    bail!("{of}.{member}: not in the kernel's BTF")
}

pub fn raise_memlock() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: plain input parameter.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}

/// `MemFree` in KiB.
pub fn mem_free() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|l| {
            l.strip_prefix("MemFree:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// The kernel's own figure for a map, from its fdinfo.
pub fn memlock(fd: impl std::os::fd::AsFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix("memlock:"))
        .unwrap_or("?")
        .trim()
        .to_owned()
}
