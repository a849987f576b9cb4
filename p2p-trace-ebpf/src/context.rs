//! The four ways to reach a program: fentry, fexit, kprobe and kretprobe. The hooks' bodies see
//! only [`Context`].

use core::{arch::asm, ffi::c_void, ptr::read_volatile};

use p2p_trace_common::{Hook, config::marker};

use crate::{
    calls::{self, Call},
    config::{setting, wide_setting},
    memory::{self, Word, add},
    notes,
};

/// The arguments, result and caller of the traced function.
pub(crate) trait Context: Copy {
    /// True for a kprobe or kretprobe.
    const KPROBE: bool;

    /// The program's context, for helpers that need it.
    fn raw(&self) -> *mut c_void;

    /// Logical argument `index`; 0 if the function has no such argument.
    fn arg(&self, index: usize) -> u64;

    /// The function's return value; only at an exit.
    fn ret(&self) -> u64;

    /// Return address of the traced function, if it can be found.
    fn caller(&self) -> Option<u64>;

    /// Reads a member behind an argument with a struct type, or behind a pointer that was itself
    /// read through this function. In fentry and fexit programs the verifier knows the type of such
    /// a pointer, so that a plain load suffices; the kernel makes it fault-proof.
    fn load<T: Word>(&self, address: u64) -> Option<T>;
}

/// One load per position: the verifier wants the offset into the context in the instruction itself,
/// and the compiler would merge ordinary loads into one with a computed address.
macro_rules! load_at {
    ($base:expr, $($index:literal => $offset:literal),* ; $which:expr) => {{
        let value: u64;
        match $which {
            $($index => {
                // SAFETY: the verifier checks the offset against the context's type.
                unsafe {
                    asm!(concat!("{0} = *(u64 *)({1} + ", $offset, ")"), out(reg) value, in(reg) $base,
                         options(pure, readonly, nostack));
                }
            })*
            _ => value = 0,
        }
        value
    }};
}

/// Loads a logical argument of a hook, or the result, from the position that user space put into
/// the instruction; 0 if there is none.
macro_rules! load_argument {
    ($base:expr, $marker:expr, $hook:expr, $index:expr; $($at:literal)*) => {{
        let value: u64;
        match $index {
            $($at => {
                // SAFETY: the verifier checks the offset against the context's type.
                unsafe {
                    asm!("{0} = *(u64 *)({1} + {2})", out(reg) value, in(reg) $base,
                         const $marker + marker::argument($hook, $at), options(pure, readonly, nostack));
                }
            })*
            _ => value = 0,
        }
        value
    }};
}

/// Context of an fentry or fexit program for the hook with that number.
#[derive(Clone, Copy)]
pub(crate) struct Traced<const HOOK: u8> {
    context: *mut c_void,
}

impl<const HOOK: u8> Traced<HOOK> {
    #[inline(always)]
    pub(crate) const fn new(context: *mut c_void) -> Self {
        Self { context }
    }
}

/// A return address into a function that was entered through its ftrace location is at most this
/// far from its beginning: `endbr64` and one call.
const ENTRY_BYTES: u64 = 32;

impl<const HOOK: u8> Context for Traced<HOOK> {
    const KPROBE: bool = false;

    #[inline(always)]
    fn raw(&self) -> *mut c_void {
        self.context
    }

    #[inline(always)]
    fn arg(&self, index: usize) -> u64 {
        load_argument!(self.context, marker::ARGUMENT, HOOK, index; 0 1 2 3)
    }

    #[inline(always)]
    fn ret(&self) -> u64 {
        load_argument!(self.context, marker::ARGUMENT, HOOK, marker::RESULT; 4)
    }

    /// The trampoline's frame lies right behind the arguments: the result (if any fexit program is
    /// attached to the function), the saved `rbp`, the return address into the traced function
    /// (unless the trampoline was jumped to), and the return address of the traced function. So the
    /// word after next is the caller, or, if it points into the traced function, the word behind
    /// that is. Decided per event, since another tool's fexit changes the frame. Source:
    /// `arch_prepare_bpf_trampoline`; all forms were seen on 5.10 to 7.3.
    #[inline(always)]
    fn caller(&self) -> Option<u64> {
        let function = wide_setting!(functions, HOOK as usize);
        if setting!(callers) == 0 || function == 0 {
            return None;
        }
        let frame = add!(self.context as u64, marker::FRAME + HOOK as i32);
        let first: u64 = memory::load(frame)?;
        if first.wrapping_sub(function) < ENTRY_BYTES { memory::load(frame + 8) } else { Some(first) }
    }

    /// A plain load suffices, see [`Context::load`].
    #[inline(always)]
    fn load<T: Word>(&self, address: u64) -> Option<T> {
        // SAFETY: the verifier admits the load only where the pointer's type has a member there; a bad address
        // reads as zero.
        Some(unsafe { read_volatile(address as *const T) })
    }
}

/// Context of a kprobe at the entry of the function of the hook with that number.
#[derive(Clone, Copy)]
pub(crate) struct Entered<const HOOK: u8> {
    context: *mut c_void,
}

impl<const HOOK: u8> Entered<HOOK> {
    #[inline(always)]
    pub(crate) const fn new(context: *mut c_void) -> Self {
        Self { context }
    }
}

impl<const HOOK: u8> Context for Entered<HOOK> {
    const KPROBE: bool = true;

    #[inline(always)]
    fn raw(&self) -> *mut c_void {
        self.context
    }

    #[inline(always)]
    fn arg(&self, index: usize) -> u64 {
        load_argument!(self.context, marker::REGISTER, HOOK, index; 0 1 2 3)
    }

    #[inline(always)]
    fn ret(&self) -> u64 {
        0
    }

    #[inline(always)]
    fn caller(&self) -> Option<u64> {
        if setting!(callers) == 0 {
            return None;
        }
        memory::load(stack_pointer(self.context))
    }

    #[inline(always)]
    fn load<T: Word>(&self, address: u64) -> Option<T> {
        memory::load(address)
    }
}

/// Context of a kretprobe: the arguments are those saved at the entry.
#[derive(Clone, Copy)]
pub(crate) struct Returned {
    context: *mut c_void,
    arguments: calls::Arguments,
}

impl Returned {
    /// Retrieves the arguments that the entry of the same call of `hook` saved. The return address
    /// is off the stack by now.
    #[inline(always)]
    pub(crate) fn new(context: *mut c_void, hook: Hook) -> Option<Self> {
        let frame = stack_pointer(context).wrapping_sub(8);
        let arguments = calls::take(hook, call(context, frame))?;
        Some(Self { context, arguments })
    }
}

impl Context for Returned {
    const KPROBE: bool = true;

    #[inline(always)]
    fn raw(&self) -> *mut c_void {
        self.context
    }

    #[inline(always)]
    fn arg(&self, index: usize) -> u64 {
        self.arguments[index]
    }

    #[inline(always)]
    fn ret(&self) -> u64 {
        load_at!(self.context, 0 => 80; 0)
    }

    /// A kretprobe runs with the instruction pointer at the address returned to.
    #[inline(always)]
    fn caller(&self) -> Option<u64> {
        (setting!(callers) != 0).then(|| load_at!(self.context, 0 => 128; 0))
    }

    #[inline(always)]
    fn load<T: Word>(&self, address: u64) -> Option<T> {
        memory::load(address)
    }
}

/// Stack pointer of the traced function's caller at a kprobe or kretprobe.
#[inline(always)]
fn stack_pointer(context: *mut c_void) -> u64 {
    load_at!(context, 0 => 152; 0)
}

/// The call whose return address is at `frame`. These registers are the same at its entry and exit
/// because they are the caller's. `r15`, `r14`, `r13`, `r12`, `rbp` and `rbx` are the first six
/// words of `struct pt_regs`.
#[inline(always)]
fn call(context: *mut c_void, frame: u64) -> Call {
    /// Any large odd number: a difference in one register survives whatever the values of the
    /// others.
    const MIX: u64 = 0x61c8_8647;
    let mut mark = notes::current_task();
    let mut index = 0;
    while index < 6 {
        let register = load_at!(context, 0 => 0, 1 => 8, 2 => 16, 3 => 24, 4 => 32, 5 => 40; index);
        mark = mark.wrapping_mul(MIX).wrapping_add(register);
        index += 1;
    }
    Call { frame, mark }
}

/// Saves the arguments of `hook` for the kretprobe of the same call.
#[inline(always)]
pub(crate) fn note_arguments<const HOOK: u8>(context: *mut c_void, hook: Hook) {
    let entered = Entered::<HOOK>::new(context);
    let words = [entered.arg(0), entered.arg(1), entered.arg(2), entered.arg(3)];
    calls::put(hook, call(context, stack_pointer(context)), words);
}
