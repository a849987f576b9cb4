//! Arguments of calls in progress, which a kprobe saves for the kretprobe of the same call.

use p2p_trace_common::{
    Hook,
    hook::{HOOK_SLOTS, MAX_ARGS},
};

use crate::{notes, ring};

/// Logical arguments of a call.
pub(crate) type Arguments = [u64; MAX_ARGS];

/// Identity of a call, equal at its entry and its exit.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Address of the call's return address. Concurrent calls, even in one task, have different
    /// ones, unless one has jumped to the other.
    pub(crate) frame: u64,
    /// The task, mixed with the registers that a function must preserve. It distinguishes a call
    /// from an earlier one with the same `frame` whose exit was skipped.
    pub(crate) mark: u64,
}

/// Saves the arguments of a call.
#[inline(always)]
pub(crate) fn put(hook: Hook, call: Call, arguments: Arguments) {
    if !table::put(key(hook, call), call.mark, arguments) {
        let [a, b, c, d] = arguments;
        notes::put(notes::of_object(call.frame, hook), [a, b, c, d, call.mark, 0]);
    }
}

/// Removes and returns the arguments; `None`, and counted, if the entry saved none.
#[inline(always)]
pub(crate) fn take(hook: Hook, call: Call) -> Option<Arguments> {
    let (mark, arguments) = if let Some(found) = table::take(key(hook, call)) {
        found
    } else {
        let [a, b, c, d, mark, _] = notes::take(notes::of_object(call.frame, hook))?;
        (mark, [a, b, c, d])
    };
    if mark != call.mark {
        ring::count_notes_missing();
        return None;
    }
    Some(arguments)
}

/// Frame and hook in one word: the upper seven bits of a kernel address are ones.
#[inline(always)]
const fn key(hook: Hook, call: Call) -> u64 {
    call.frame ^ (hook as u64) << HOOK_SHIFT
}

/// The lowest bit that is set in every kernel address, with five levels of page tables as well.
const HOOK_SHIFT: u32 = 57;
const _: () = assert!(HOOK_SLOTS <= 1 << (64 - HOOK_SHIFT));

/// A table without chains, at a tenth of the cost of a hash map. A call whose place is occupied
/// uses the notes instead.
#[cfg(not(feature = "no-fetch-add"))]
mod table {
    use core::{
        intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg},
        ptr::{read_volatile, write_volatile},
    };

    use aya_ebpf::{macros::map, maps::Array};

    use super::{Arguments, MAX_ARGS};

    /// A place. It belongs to the call that put its key there, until the key is 0 again.
    #[repr(C, align(64))]
    #[derive(Clone, Copy)]
    struct Place {
        key: u64,
        mark: u64,
        arguments: Arguments,
    }

    /// Binary logarithm of the number of places.
    const BITS: u32 = 10;

    #[map]
    static CALLS: Array<Place> = Array::with_max_entries(1 << BITS, 0);

    #[inline(always)]
    fn place(key: u64) -> Option<*mut Place> {
        // Fibonacci hashing: the high bits of the product are well mixed.
        CALLS.get_ptr_mut((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as u32)
    }

    /// False if the place belongs to another call. An entry with the same key is overwritten: its
    /// exit was missed.
    #[inline(always)]
    pub(super) fn put(key: u64, mark: u64, arguments: Arguments) -> bool {
        let Some(place) = place(key) else { return false };
        // SAFETY: in bounds of the map value; the key is changed atomically, and the rest by the key's owner only.
        unsafe {
            let owner = read_volatile(&raw const (*place).key);
            if owner != key
                && (owner != 0
                    || !atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(&raw mut (*place).key, 0, key).1)
            {
                return false;
            }
            write_volatile(&raw mut (*place).mark, mark);
            let mut index = 0;
            while index < MAX_ARGS {
                write_volatile(&raw mut (*place).arguments[index], arguments[index]);
                index += 1;
            }
        }
        true
    }

    #[inline(always)]
    pub(super) fn take(key: u64) -> Option<(u64, Arguments)> {
        let place = place(key)?;
        // SAFETY: as above.
        unsafe {
            if read_volatile(&raw const (*place).key) != key {
                return None;
            }
            let mut arguments = [0; MAX_ARGS];
            let mut index = 0;
            while index < MAX_ARGS {
                arguments[index] = read_volatile(&raw const (*place).arguments[index]);
                index += 1;
            }
            let mark = read_volatile(&raw const (*place).mark);
            write_volatile(&raw mut (*place).key, 0);
            Some((mark, arguments))
        }
    }
}

/// Kernels without atomic exchange use only the notes.
#[cfg(feature = "no-fetch-add")]
mod table {
    use super::Arguments;

    #[inline(always)]
    pub(super) const fn put(_: u64, _: u64, _: Arguments) -> bool {
        false
    }

    #[inline(always)]
    pub(super) const fn take(_: u64) -> Option<(u64, Arguments)> {
        None
    }
}
