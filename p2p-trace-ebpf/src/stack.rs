//! Kernel stacks, in continuation records.

use core::{ffi::c_void, mem::MaybeUninit, ptr::read_volatile};

use aya_ebpf::helpers::generated::bpf_get_stack;
use p2p_trace_common::{
    Hook, Kind, Ring,
    record::{MAX_FRAMES, STACK_FRAMES, STACK_RECORDS},
};

use crate::{
    config::{setting, wide_setting},
    context::Context,
    emit::head,
    ring,
};

/// First word of the frames in a slot.
const FIRST: usize = 7;

/// Writes the current kernel stack behind the record `parent`, in as many records as it needs and may have.
#[inline(always)]
pub(crate) fn emit<C: Context>(context: &C, ring: Ring, hook: Hook, parent: u64, time: u64) {
    let head = head(Kind::Stack, hook, 0);
    match ring {
        // Where fentry got to unwinds from where the helper is called. The program and its trampoline are no news, and one who
        // wants three frames does not want these.
        Ring::Hot => {
            write(
                context.raw(),
                ring,
                head,
                parent,
                time,
                setting!(stack_bytes),
                if C::KPROBE { 0 } else { 2 },
            );
        }
        // Nor is `write_apart` itself.
        Ring::Rare => write_apart(context.raw(), head, parent, time, u64::from(!C::KPROBE)),
    }
}

/// As [`write`] in a function of its own. In the program's its frames would leave no room for those of the flush, which only
/// rare hooks call: 512 bytes are all that a chain of calls has. It costs the unwinder one step more.
#[inline(never)]
fn write_apart(context: *mut c_void, head: u64, parent: u64, time: u64, skip: u64) {
    write(context, Ring::Rare, head, parent, time, (MAX_FRAMES * 8) as u64, skip);
}

/// Writes the stack without its `skip` innermost frames, in at most so many `bytes`.
#[inline(always)]
fn write(context: *mut c_void, ring: Ring, head: u64, parent: u64, time: u64, bytes: u64, skip: u64) {
    // All of it at once, though it has to be copied then: the kernel unwinds from the beginning at every call, which
    // costs more than all else here together.
    let mut frames = MaybeUninit::<[u64; MAX_FRAMES]>::uninit();
    let buffer: *mut u64 = frames.as_mut_ptr().cast();
    // SAFETY: the buffer has room for the largest stack.
    let bytes = unsafe { bpf_get_stack(context, buffer.cast(), bytes as u32, skip) };
    let count = if bytes > 0 { bytes as usize / 8 } else { 0 };
    let mut part = 0;
    while part < STACK_RECORDS {
        let first = part * STACK_FRAMES;
        // The last part is one that is not full.
        if count < first {
            return;
        }
        // A continuation is no hit of its own.
        let Some(claim) = ring::claim(ring, None) else {
            return;
        };
        claim.write(1, head);
        claim.write(2, u64::from(claim.cpu) << 32);
        claim.write(3, wide_setting!(run, 0));
        claim.write(4, claim.seq);
        claim.write(5, time);
        claim.write(6, parent);
        let mut index = 0;
        while index < STACK_FRAMES {
            let frame = if first + index < count {
                // SAFETY: within the buffer, and so many the kernel has written.
                unsafe { read_volatile(buffer.add(first + index)) }
            } else {
                0
            };
            claim.write(FIRST + index, frame);
            index += 1;
        }
        claim.commit(part as u32);
        part += 1;
    }
}
