//! The content of one record: 120 bytes after the 8-byte transport header.

use core::ptr::write_volatile;

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_get_current_task_btf, bpf_ktime_get_boot_ns},
    },
};

#[unsafe(no_mangle)]
static TASK_PID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_TGID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_COMM: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static RUN: Global<u64> = Global::new(0);
/// Helper calls made in the middle of a record, to give interrupts and preemption a wide target (stress only).
#[unsafe(no_mangle)]
static STALL: Global<u32> = Global::new(0);

const MAGIC: u64 = 0x5032_5054;
const VALID: u32 = 0x0f0f;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the hook knows about the event it is in.
#[derive(Clone, Copy)]
pub struct Event {
    pub hook: u8,
    pub cpu: u32,
    pub seq: u64,
    pub arg: u64,
}

/// Spends time, in the stress programs only.
#[inline(always)]
pub fn stall<const CHECK: bool>() {
    if CHECK {
        let n = STALL.load();
        let mut i = 0;
        while i < n {
            unsafe { bpf_ktime_get_boot_ns() };
            i += 1;
        }
    }
}

#[inline(always)]
fn put32(body: *mut u8, at: usize, value: u32) {
    unsafe { write_volatile(body.add(at).cast(), value) }
}

#[inline(always)]
fn put64(body: *mut u8, at: usize, value: u64) {
    unsafe { write_volatile(body.add(at).cast(), value) }
}

#[inline(always)]
fn mix(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(MIX)
}

/// Writes the record's content. `OLD` uses the helpers that exist on 5.10, `SUM` puts a checksum into the guard,
/// `CHECK` puts one into the last payload word, so that a reader can tell a torn record.
///
/// # Safety
/// `body` points to 120 writable bytes.
#[inline(always)]
pub unsafe fn fill<const OLD: bool, const SUM: bool, const CHECK: bool>(body: *mut u8, event: Event) {
    let Event { hook, cpu, seq, arg } = event;
    let kind = 1 | 2 << 8 | u32::from(hook) << 16;
    put32(body, 0, MAGIC as u32);
    put32(body, 4, kind);
    put32(body, 8, VALID);
    put32(body, 12, cpu);
    let run = RUN.load();
    put64(body, 16, run);
    put64(body, 24, seq);
    let time = unsafe { bpf_ktime_get_boot_ns() };
    put64(body, 32, time);
    let (pid, tgid, comm);
    if OLD {
        let both = bpf_get_current_pid_tgid();
        (pid, tgid) = (both as u32, (both >> 32) as u32);
        unsafe { bpf_get_current_comm(body.add(48).cast(), 16) };
        comm = if SUM || CHECK {
            unsafe {
                [
                    body.add(48).cast::<u64>().read_volatile(),
                    body.add(56).cast::<u64>().read_volatile(),
                ]
            }
        } else {
            [0; 2]
        };
    } else {
        unsafe {
            let task = bpf_get_current_task_btf() as *const u8;
            pid = task.add(TASK_PID.load() as usize).cast::<u32>().read_volatile();
            tgid = task.add(TASK_TGID.load() as usize).cast::<u32>().read_volatile();
            let at = task.add(TASK_COMM.load() as usize).cast::<u64>();
            comm = [at.read_volatile(), at.add(1).read_volatile()];
        }
        put64(body, 48, comm[0]);
        put64(body, 56, comm[1]);
    }
    put32(body, 40, pid);
    put32(body, 44, tgid);
    stall::<CHECK>();
    put32(body, 64, 0);
    put32(body, 68, 0x0801);
    put64(body, 72, arg);
    let payload = [run ^ seq, time ^ run, seq.wrapping_mul(MIX)];
    put64(body, 80, payload[0]);
    put64(body, 88, payload[1]);
    put64(body, 96, payload[2]);
    let mut sum = 0;
    if SUM || CHECK {
        // Read back: in fentry the argument is a typed pointer, on which the verifier allows no arithmetic but addition.
        let arg = unsafe { body.add(72).cast::<u64>().read_volatile() };
        // Written out: as a loop over an array it costs three times as much.
        sum = mix(sum, u64::from(kind) << 32 | MAGIC);
        sum = mix(sum, u64::from(cpu) << 32 | u64::from(VALID));
        sum = mix(mix(mix(sum, run), seq), time);
        sum = mix(sum, u64::from(tgid) << 32 | u64::from(pid));
        sum = mix(mix(sum, comm[0]), comm[1]);
        sum = mix(mix(sum, 0x0801 << 32), arg);
        sum = mix(mix(mix(sum, payload[0]), payload[1]), payload[2]);
    }
    put64(body, 104, if CHECK { sum } else { arg });
    put32(body, 112, hook.into());
    put32(body, 116, if SUM { (sum >> 32) as u32 } else { seq as u32 });
}
