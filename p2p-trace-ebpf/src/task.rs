//! The current task.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task_btf},
};

use crate::{
    config::{offset, setting},
    memory::{member, read},
};

/// A task's identity.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Thread id in the low half, process id in the high half, as in a record.
    pub(crate) ids: u64,
    /// The name, as it lies in memory.
    pub(crate) comm: [u64; 2],
}

impl Task {
    /// Placeholder for an unknown task.
    pub(crate) const NONE: Self = Self { ids: 0, comm: [0; 2] };

    /// The task behind a pointer, by reads that may fault.
    #[inline(always)]
    pub(crate) fn at(task: u64) -> Option<Self> {
        let pid: u32 = read(task, offset!(task_pid))?;
        let tgid: u32 = read(task, offset!(task_tgid))?;
        let comm: [u64; 2] = read(task, offset!(task_comm))?;
        Some(Self { ids: u64::from(pid) | u64::from(tgid) << 32, comm })
    }

    /// The current task: by loads through its BTF type if the kernel allows it, since the helper
    /// that copies the name costs more than everything else here.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        if setting!(task_btf) == 0 { Self::by_helpers() } else { Self::by_loads() }
    }

    #[inline(always)]
    fn by_helpers() -> Self {
        let pid_tgid = bpf_get_current_pid_tgid();
        // The helper returns the process id in the high half and the thread id in the low half, as
        // needed here.
        let mut comm = MaybeUninit::<[u64; 2]>::uninit();
        // SAFETY: the helper fills the complete buffer, with zeros if it fails; every bit pattern
        // is valid. aya's own wrapper clears the buffer first, by calling a loop over bytes.
        let comm = unsafe {
            bpf_get_current_comm(comm.as_mut_ptr().cast(), size_of_val(&comm) as u32);
            comm.assume_init()
        };
        Self { ids: pid_tgid, comm }
    }

    #[inline(always)]
    fn by_loads() -> Self {
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task_btf() } as u64;
        let comm = member!(sure task, task_comm);
        let (pid, tgid) = (member!(sure task, task_pid), member!(sure task, task_tgid));
        // SAFETY: the addresses are those of members, and the verifier checks each load against
        // `task_struct`.
        unsafe {
            Self {
                ids: u64::from(load::<u32>(pid)) | u64::from(load::<u32>(tgid)) << 32,
                comm: [load(comm), load(comm + 8)],
            }
        }
    }
}

/// # Safety
///
/// `address` must be that of a member, of a type known to the verifier.
#[inline(always)]
unsafe fn load<T>(address: u64) -> T {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(address as *const T) }
}

/// Id of the current task's cgroup in the unified hierarchy.
#[inline(always)]
pub(crate) fn cgroup() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}
