//! Hooks that need other hooks, either to write records at all or to fill some of their fields. Requesting a
//! hook also requests the hooks it needs.

use p2p_trace_common::Hook;

/// A hook and the hooks it needs.
#[derive(Clone, Copy, Debug)]
pub struct Companions {
    /// The hook.
    pub hook: Hook,
    /// The hook that leaves the note (`p2p-trace-ebpf/src/notes.rs`) without which this hook writes no
    /// record.
    pub noted_by: Option<Hook>,
    /// All hooks it needs, including `noted_by`.
    pub needs: &'static [Hook],
}

const fn noted(hook: Hook, needs: &'static [Hook]) -> Companions {
    Companions { hook, noted_by: Some(needs[0]), needs }
}

const TABLE: &[Companions] = &[
    Companions { hook: Hook::Mmap, noted_by: None, needs: &[Hook::MmapEnter, Hook::InsertPage] },
    noted(Hook::Remove, &[Hook::Kill, Hook::Unmapped]),
    noted(Hook::Unmapped, &[Hook::Kill]),
    noted(Hook::Unbound, &[Hook::Unbind]),
    noted(Hook::DriverRemoved, &[Hook::DriverRemove]),
    noted(Hook::DevresReleased, &[Hook::DevresRelease]),
];

impl Companions {
    /// Returns the row of a hook, or `None` if it needs no other hook.
    #[must_use]
    pub fn of(hook: Hook) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.hook == hook)
    }

    /// Returns the hook whose notes decide whether this one writes a record.
    pub(crate) fn noting(hook: Hook) -> Option<Hook> {
        Self::of(hook)?.noted_by
    }

    /// Returns whether one of `hooks` needs `companion`.
    #[must_use]
    pub fn is_needed(companion: Hook, hooks: &[Hook]) -> bool {
        TABLE.iter().any(|row| hooks.contains(&row.hook) && row.needs.contains(&companion))
    }
}
