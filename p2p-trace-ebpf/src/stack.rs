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

/// Writes the current kernel stack after the record `parent`, in as many records as it needs and
/// may have.
#[inline(always)]
pub(crate) fn emit<C: Context>(context: &C, ring: Ring, hook: Hook, parent: u64, time: u64) {
    let head = head(Kind::Stack, hook, 0);
    match ring {
        // At fentry the kernel unwinds from the call of the helper. The frames of the program and
        // its trampoline carry no information and would fill most of a short stack.
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
        // Skips the frame of `write_apart` itself.
        Ring::Rare => write_apart(context.raw(), head, parent, time, u64::from(!C::KPROBE)),
    }
}

/// As [`write`], as a separate function. In the program's own frame the buffer would leave no room
/// for the frames of the flush, which only rare hooks call: a chain of calls has 512 bytes in
/// total. It costs the unwinder one more step.
#[inline(never)]
fn write_apart(context: *mut c_void, head: u64, parent: u64, time: u64, skip: u64) {
    write(context, Ring::Rare, head, parent, time, (MAX_FRAMES * 8) as u64, skip);
}

/// Writes the stack without its `skip` innermost frames, in at most `bytes` bytes.
#[inline(always)]
fn write(context: *mut c_void, ring: Ring, head: u64, parent: u64, time: u64, bytes: u64, skip: u64) {
    // All frames at once, although they have to be copied then: the kernel unwinds from the
    // beginning at every call, which costs more than everything else here together.
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
        // A continuation does not count as a hit.
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
                // SAFETY: within the buffer, and within the frames that the kernel has written.
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
