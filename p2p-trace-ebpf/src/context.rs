//! How a program was reached: fentry, fexit, kprobe or kretprobe. The hooks' bodies see only [`Context`].

use core::{arch::asm, ffi::c_void, ptr::read_volatile};

use aya_ebpf::programs::RawTracePointContext;
use p2p_trace_common::{
    Hook,
    config::{MISSING, NO_ARG},
};

use crate::{
    config::{config, position},
    memory::{self, Word},
    notes,
};

/// The arguments, result and caller of the traced function.
pub(crate) trait Context: Copy {
    /// Reached through a kprobe or kretprobe.
    const KPROBE: bool;

    /// The program's context, for helpers that take it.
    fn raw(&self) -> *mut c_void;

    /// As the kernel side's own diagnostics want it; they are for rare paths only.
    #[inline(always)]
    fn log(&self) -> RawTracePointContext {
        RawTracePointContext::new(self.raw())
    }

    /// Logical argument `index`, 0 where the function has none such.
    fn arg(&self, index: usize) -> u64;

    /// What the function returned; only at an exit.
    fn ret(&self) -> u64;

    /// Return address of the traced function, where it can be told.
    fn caller(&self) -> Option<u64>;

    /// Reads a member behind a pointer that is an argument with a struct type, or that was read through
    /// this. The verifier knows the type of such a pointer in fentry and fexit programs, so that a plain
    /// load, which the kernel makes fault-proof, does.
    fn load<T: Word>(&self, pointer: u64, offset: u32) -> Option<T>;
}

/// One load per position: the verifier wants the offset into the context in the instruction itself, and
/// the compiler would merge ordinary loads into one with a computed address.
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

/// Reads a member by a plain load; `pointer` must have a type known to the verifier.
#[inline(always)]
fn load_typed<T: Word>(pointer: u64, offset: u32) -> Option<T> {
    if offset == MISSING || pointer == 0 {
        return None;
    }
    // SAFETY: the verifier admits the load only where the pointer's type has a member there; a bad address
    // reads as zero.
    Some(unsafe { read_volatile(pointer.wrapping_add(u64::from(offset)) as *const T) })
}

/// Context of a fentry or fexit program for one hook.
#[derive(Clone, Copy)]
pub(crate) struct Traced {
    context: *mut c_void,
    hook: Hook,
}

impl Traced {
    #[inline(always)]
    pub(crate) const fn new(context: *mut c_void, hook: Hook) -> Self {
        Self { context, hook }
    }

    #[inline(always)]
    fn slot(&self, index: u8) -> u64 {
        load_at!(self.context,
            0 => 0, 1 => 8, 2 => 16, 3 => 24, 4 => 32, 5 => 40, 6 => 48, 7 => 56; index)
    }
}

/// A return address into a function that was entered through its ftrace location lies this close to its
/// beginning: `endbr64` and one call.
const ENTRY_BYTES: u64 = 32;

impl Context for Traced {
    const KPROBE: bool = false;

    #[inline(always)]
    fn raw(&self) -> *mut c_void {
        self.context
    }

    #[inline(always)]
    fn arg(&self, index: usize) -> u64 {
        let position = position(self.hook, index);
        if position == NO_ARG {
            0
        } else {
            self.slot(position)
        }
    }

    #[inline(always)]
    fn ret(&self) -> u64 {
        self.slot(config!(arg_counts[self.hook as usize]))
    }

    /// The trampoline's frame lies right behind the arguments: the result (where any fexit program is attached
    /// to the function), saved `rbp`, the return address into the traced function (unless the trampoline was
    /// jumped to), the return address of the traced function. So the word after next is the caller, or, where
    /// it points into the traced function, the one behind it. Decided per event, since another tool's fexit
    /// changes the frame. Source: `arch_prepare_bpf_trampoline`; all forms seen on 5.10 to 7.3.
    #[inline(always)]
    fn caller(&self) -> Option<u64> {
        let function = config!(functions[self.hook as usize]);
        if config!(callers) == 0 || function == 0 {
            return None;
        }
        let behind = 8 * (u32::from(config!(arg_counts[self.hook as usize])) + 2);
        let [first, second] = memory::read::<[u64; 2]>(self.context as u64, behind)?;
        Some(if first.wrapping_sub(function) < ENTRY_BYTES {
            second
        } else {
            first
        })
    }

    #[inline(always)]
    fn load<T: Word>(&self, pointer: u64, offset: u32) -> Option<T> {
        load_typed(pointer, offset)
    }
}

/// Offsets of the argument registers in x86-64's `struct pt_regs`, in the order of the calling convention.
macro_rules! register {
    ($base:expr, $index:expr) => {
        load_at!($base, 0 => 112, 1 => 104, 2 => 96, 3 => 88, 4 => 72, 5 => 64; $index)
    };
}

/// Context of a kprobe program at a function's entry.
#[derive(Clone, Copy)]
pub(crate) struct Entered {
    context: *mut c_void,
    hook: Hook,
}

impl Entered {
    #[inline(always)]
    pub(crate) const fn new(context: *mut c_void, hook: Hook) -> Self {
        Self { context, hook }
    }
}

impl Context for Entered {
    const KPROBE: bool = true;

    #[inline(always)]
    fn raw(&self) -> *mut c_void {
        self.context
    }

    #[inline(always)]
    fn arg(&self, index: usize) -> u64 {
        let position = position(self.hook, index);
        if position == NO_ARG {
            0
        } else {
            register!(self.context, position)
        }
    }

    #[inline(always)]
    fn ret(&self) -> u64 {
        0
    }

    #[inline(always)]
    fn caller(&self) -> Option<u64> {
        if config!(callers) == 0 {
            return None;
        }
        let stack_pointer = load_at!(self.context, 0 => 152; 0);
        memory::read(stack_pointer, 0)
    }

    #[inline(always)]
    fn load<T: Word>(&self, pointer: u64, offset: u32) -> Option<T> {
        memory::read(pointer, offset)
    }
}

/// Context of a kretprobe program: the arguments are those noted at the entry.
#[derive(Clone, Copy)]
pub(crate) struct Returned {
    context: *mut c_void,
    arguments: notes::Words,
}

impl Returned {
    /// Takes the note that the entry of `hook` left for the current task.
    #[inline(always)]
    pub(crate) fn new(context: *mut c_void, hook: Hook) -> Option<Self> {
        let arguments = notes::take(notes::of_task(hook))?;
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
        (config!(callers) != 0).then(|| load_at!(self.context, 0 => 128; 0))
    }

    #[inline(always)]
    fn load<T: Word>(&self, pointer: u64, offset: u32) -> Option<T> {
        memory::read(pointer, offset)
    }
}

/// Notes the arguments of `hook` for the kretprobe of the same call.
#[inline(always)]
pub(crate) fn note_arguments(context: *mut c_void, hook: Hook) {
    let entered = Entered::new(context, hook);
    let words = [
        entered.arg(0),
        entered.arg(1),
        entered.arg(2),
        entered.arg(3),
        0,
        0,
    ];
    notes::put(notes::of_task(hook), words);
}
