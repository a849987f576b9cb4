//! Notes that one program leaves for a later one: arguments for a kretprobe, the range that is
//! being removed, the device that is being unbound.

use aya_ebpf::{helpers::generated::bpf_get_current_task, macros::map, maps::HashMap};
use p2p_trace_common::Hook;

use crate::ring;

/// Content of a note.
pub(crate) type Words = [u64; 6];

/// Key of a note: a task or object, and the hook that left it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Key {
    owner: u64,
    hook: u64,
}

/// Maximum number of calls in progress.
const CALLS: u32 = 4096;

#[map]
static NOTES: HashMap<Key, Words> = HashMap::with_max_entries(CALLS, 0);

/// Address of the current task.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: the helper takes nothing and returns an address that is not dereferenced here.
    unsafe { bpf_get_current_task() }
}

/// Key of the current task's note for `hook`.
#[inline(always)]
pub(crate) fn of_task(hook: Hook) -> Key {
    Key { owner: current_task(), hook: hook as u64 }
}

/// Key of an object's note for `hook`.
#[inline(always)]
pub(crate) const fn of_object(object: u64, hook: Hook) -> Key {
    Key { owner: object, hook: hook as u64 }
}

/// Leaves a note; an older one under the same key is replaced.
#[inline(always)]
pub(crate) fn put(key: Key, words: Words) {
    if NOTES.insert(key, words, 0).is_err() {
        ring::count_notes_full();
    }
}

/// Reads a note.
#[inline(always)]
pub(crate) fn get(key: Key) -> Option<Words> {
    // SAFETY: only a note's own task, or the teardown of its own object, writes and removes it.
    unsafe { NOTES.get(key) }.copied()
}

/// A note's words, for changes in place.
#[inline(always)]
pub(crate) fn get_mut(key: Key) -> Option<*mut Words> {
    NOTES.get_ptr_mut(key)
}

/// Removes a note. A note that is already gone is not an error.
#[inline(always)]
pub(crate) fn remove(key: Key) {
    NOTES.remove(key).unwrap_or_default();
}

/// Removes a note and returns its content.
#[inline(always)]
pub(crate) fn take(key: Key) -> Option<Words> {
    let words = get(key);
    match words {
        Some(_) => remove(key),
        None => ring::count_notes_missing(),
    }
    words
}
