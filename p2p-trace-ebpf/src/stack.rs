//! Kernel stacks, in continuation records.

use aya_ebpf::helpers::generated::bpf_get_stack;
use p2p_trace_common::{
    Hook, Kind, Ring,
    record::{STACK_FRAMES, STACK_RECORDS},
};

use crate::{config::config, context::Context, emit::head, ring};

/// Bytes of frames in one record.
const BYTES: u32 = (STACK_FRAMES * 8) as u32;
/// First word of the frames in a slot.
const FIRST: usize = 7;

/// Writes the current kernel stack behind the record `parent`, in as many records as it needs and may have.
#[inline(always)]
pub(crate) fn emit<C: Context>(context: &C, ring: Ring, hook: Hook, parent: u64, time: u64) {
    let mut part = 0;
    while part < STACK_RECORDS {
        // A continuation is no hit of its own.
        let Some(claim) = ring::claim(ring, hook, 0) else {
            return;
        };
        claim.write(1, head(Kind::Stack, hook, 0));
        claim.write(2, u64::from(claim.cpu) << 32);
        claim.write(3, config!(run));
        claim.write(4, claim.seq);
        claim.write(5, time);
        claim.write(6, parent);
        let skip = (part * STACK_FRAMES) as u64;
        // SAFETY: the slot has room for BYTES from word FIRST on.
        let got = unsafe { bpf_get_stack(context.raw(), claim.words(FIRST).cast(), BYTES, skip) };
        let frames = if got > 0 { got as u64 / 8 } else { 0 };
        let mut index = 0;
        while index < STACK_FRAMES {
            if index as u64 >= frames {
                claim.write(FIRST + index, 0);
            }
            index += 1;
        }
        claim.commit(part as u32);
        if frames < STACK_FRAMES as u64 {
            return;
        }
        part += 1;
    }
}
