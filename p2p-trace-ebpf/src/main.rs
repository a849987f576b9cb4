//! The kernel side of p2p-trace.
//!
//! There is one file per group of hooks under `hooks`. Each hook has one body, generic over the way
//! it was reached ([`context::Context`]), and one entry point each for fentry/fexit and for
//! kprobe/kretprobe. Everything that depends on the running kernel comes from [`config::CONFIG`],
//! which is constant to the verifier.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "the BPF target has atomic operations only as intrinsics")]

mod armed;
mod burst;
mod calls;
mod config;
mod context;
mod crash_image;
mod device;
mod emit;
mod entry;
mod flush;
mod hooks;
mod memory;
mod notes;
mod pgmap;
mod reference;
mod ring;
mod say;
mod stack;
mod task;

#[cfg(not(test))]
#[panic_handler]
const fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel requires it before it lets a program call GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
