//! Hooks that another one needs: to write its records at all, or to say in them what it says. What asks for the one gets the others.

use p2p_trace_common::Hook;

/// One hook and those that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Companions {
    /// The hook.
    pub hook: Hook,
    /// It writes a record only where a run of this hook has left a note (`p2p-trace-ebpf/src/notes.rs`).
    pub noted_by: Option<Hook>,
    /// All that it needs, that one included.
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
    /// Those of a hook, where it needs any.
    #[must_use]
    pub fn of(hook: Hook) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.hook == hook)
    }

    /// The hook whose notes decide whether this one writes.
    pub(crate) fn noting(hook: Hook) -> Option<Hook> {
        Self::of(hook)?.noted_by
    }

    /// One of `hooks` needs this one.
    #[must_use]
    pub fn is_needed(companion: Hook, hooks: &[Hook]) -> bool {
        TABLE.iter().any(|row| hooks.contains(&row.hook) && row.needs.contains(&companion))
    }
}
