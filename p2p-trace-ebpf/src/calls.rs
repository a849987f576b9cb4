//! The arguments of calls under way, which a kprobe leaves for the kretprobe of the same call.

use p2p_trace_common::{Hook, hook::MAX_ARGS};

use crate::notes;

/// Logical arguments of a call.
pub(crate) type Arguments = [u64; MAX_ARGS];

/// Leaves the arguments of the current task's call.
#[inline(always)]
pub(crate) fn put(hook: Hook, arguments: Arguments) {
    let key = key(hook);
    if !table::put(key, arguments) {
        let [a, b, c, d] = arguments;
        notes::put(notes::of_task(hook), [a, b, c, d, 0, 0]);
    }
}

/// Takes them; `None`, and counted, where the entry left none.
#[inline(always)]
pub(crate) fn take(hook: Hook) -> Option<Arguments> {
    if let Some(arguments) = table::take(key(hook)) {
        return Some(arguments);
    }
    let [a, b, c, d, ..] = notes::take(notes::of_task(hook))?;
    Some([a, b, c, d])
}

/// Task and hook in one word: tasks lie on cache lines, so that the low six bits are free.
#[inline(always)]
fn key(hook: Hook) -> u64 {
    notes::current_task() | hook as u64
}

/// A table without chains, a tenth of the cost of a hash map: a call whose place is taken goes to the notes.
#[cfg(not(feature = "no-fetch-add"))]
mod table {
    use core::{
        intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg},
        ptr::{read_volatile, write_volatile},
    };

    use aya_ebpf::{macros::map, maps::Array};

    use super::{Arguments, MAX_ARGS};

    /// A place. It belongs to whoever put its key there, until that is 0 again.
    #[repr(C, align(64))]
    #[derive(Clone, Copy)]
    struct Place {
        key: u64,
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

    /// False where the place is another call's. One of the same task is overwritten: its exit was missed.
    #[inline(always)]
    pub(super) fn put(key: u64, arguments: Arguments) -> bool {
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
            let mut index = 0;
            while index < MAX_ARGS {
                write_volatile(&raw mut (*place).arguments[index], arguments[index]);
                index += 1;
            }
        }
        true
    }

    #[inline(always)]
    pub(super) fn take(key: u64) -> Option<Arguments> {
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
            write_volatile(&raw mut (*place).key, 0);
            Some(arguments)
        }
    }
}

/// Kernels without atomic exchange have the notes only.
#[cfg(feature = "no-fetch-add")]
mod table {
    use super::Arguments;

    #[inline(always)]
    pub(super) const fn put(_: u64, _: Arguments) -> bool {
        false
    }

    #[inline(always)]
    pub(super) const fn take(_: u64) -> Option<Arguments> {
        None
    }
}
