//! The transports that were compared, each writing the same record. See README.md.
#![no_std]
#![no_main]
#![feature(core_intrinsics)] // the BPF target has no atomic read-modify-write in core::sync::atomic
#![allow(internal_features)]

mod record;
mod transport;

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit, kprobe},
    programs::{FEntryContext, FExitContext, ProbeContext},
};
use transport::{array, nothing, ring};

/// `pt_regs.di`, the first argument of a function hooked by kprobe.
const PT_REGS_DI: usize = 112;

/// Three programs that emit one record each, for the cost of a transport.
macro_rules! cost {
    ($($fentry:ident $fexit:ident $kprobe:ident = $emit:expr;)*) => {$(
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> u32 {
            $emit(0, unsafe { ctx.as_ptr().cast::<u64>().read() });
            0
        }
        #[fexit]
        pub fn $fexit(ctx: FExitContext) -> u32 {
            $emit(1, unsafe { ctx.as_ptr().cast::<u64>().add(1).read() });
            0
        }
        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            $emit(2, unsafe { ctx.as_ptr().byte_add(PT_REGS_DI).cast::<u64>().read() });
            0
        }
    )*};
}

/// Programs whose records carry a checksum, one per hook, so that they nest on one CPU.
macro_rules! stress {
    ($($name:ident = $emit:expr, $hook:expr;)*) => {$(
        #[fentry]
        pub fn $name(ctx: FEntryContext) -> u32 {
            $emit($hook, unsafe { ctx.as_ptr().cast::<u64>().read() });
            0
        }
    )*};
}

cost! {
    empty_fentry empty_fexit empty_kprobe = nothing;
    ring_fentry ring_fexit ring_kprobe = ring::<false, false, false>;
    ring2_fentry ring2_fexit ring2_kprobe = ring::<false, false, true>;
    plain_fentry plain_fexit plain_kprobe = array::<{ array::PLAIN }, false>;
    claim_fentry claim_fexit claim_kprobe = array::<{ array::CLAIM }, false>;
    sum_fentry sum_fexit sum_kprobe = array::<{ array::SUM }, false>;
    oldring_fentry oldring_fexit oldring_kprobe = ring::<true, false, false>;
    oldplain_fentry oldplain_fexit oldplain_kprobe = array::<{ array::OLD_PLAIN }, false>;
    oldguard_fentry oldguard_fexit oldguard_kprobe = array::<{ array::OLD_GUARD }, false>;
}

stress! {
    ring_s0 = ring::<false, true, false>, 3;
    ring_s1 = ring::<false, true, false>, 4;
    ring_s2 = ring::<false, true, false>, 5;
    ring_s3 = ring::<false, true, false>, 6;
    ring_s4 = ring::<false, true, false>, 7;
    plain_s0 = array::<{ array::PLAIN }, true>, 3;
    plain_s1 = array::<{ array::PLAIN }, true>, 4;
    plain_s2 = array::<{ array::PLAIN }, true>, 5;
    plain_s3 = array::<{ array::PLAIN }, true>, 6;
    plain_s4 = array::<{ array::PLAIN }, true>, 7;
    claim_s0 = array::<{ array::CLAIM }, true>, 3;
    claim_s1 = array::<{ array::CLAIM }, true>, 4;
    claim_s2 = array::<{ array::CLAIM }, true>, 5;
    claim_s3 = array::<{ array::CLAIM }, true>, 6;
    claim_s4 = array::<{ array::CLAIM }, true>, 7;
    oldring_s0 = ring::<true, true, false>, 3;
    oldring_s1 = ring::<true, true, false>, 4;
    oldring_s2 = ring::<true, true, false>, 5;
    oldring_s3 = ring::<true, true, false>, 6;
    oldring_s4 = ring::<true, true, false>, 7;
    oldplain_s0 = array::<{ array::OLD_PLAIN }, true>, 3;
    oldplain_s1 = array::<{ array::OLD_PLAIN }, true>, 4;
    oldplain_s2 = array::<{ array::OLD_PLAIN }, true>, 5;
    oldplain_s3 = array::<{ array::OLD_PLAIN }, true>, 6;
    oldplain_s4 = array::<{ array::OLD_PLAIN }, true>, 7;
    oldguard_s0 = array::<{ array::OLD_GUARD }, true>, 3;
    oldguard_s1 = array::<{ array::OLD_GUARD }, true>, 4;
    oldguard_s2 = array::<{ array::OLD_GUARD }, true>, 5;
    oldguard_s3 = array::<{ array::OLD_GUARD }, true>, 6;
    oldguard_s4 = array::<{ array::OLD_GUARD }, true>, 7;
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
