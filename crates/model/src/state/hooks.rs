//! Which hooks are attached, as the stream tells it.

use p2p_trace_common::{Hook, hook::HOOKS};

use crate::event::{Method, user::Change};

/// Since when a hook is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// It is attached.
    pub attached: bool,
    /// Since then.
    pub since_ns: u64,
    /// How.
    pub method: Method,
    /// It is attached only while a teardown is pending.
    pub armed: bool,
}

/// Every hook that was ever attached or detached.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    states: [Option<Attachment>; HOOKS],
    armed_since_ns: Option<u64>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { states: [None; HOOKS], armed_since_ns: None }
    }
}

impl Hooks {
    /// What is known of a hook; `None`: it was never attached.
    #[must_use]
    pub fn state(&self, hook: Hook) -> Option<Attachment> {
        self.states.get(hook as usize).copied().flatten()
    }

    /// It is attached.
    #[must_use]
    pub fn is_attached(&self, hook: Hook) -> bool {
        self.state(hook).is_some_and(|state| state.attached)
    }

    /// Since when an armed hook is attached: the longest, where there are several.
    pub(crate) const fn armed_since_ns(&self) -> Option<u64> {
        self.armed_since_ns
    }

    /// From when on all that is taken is seen: the latest time at which one of the hooks on what takes memory was attached. The hooks
    /// are attached one after the other, so that a range can be seen being added while an allocation from it is not.
    pub(crate) fn takes_seen_since_ns(&self) -> u64 {
        [Hook::Alloc, Hook::SglAlloc, Hook::Mmap]
            .into_iter()
            .filter_map(|hook| self.state(hook))
            .map(|state| state.since_ns)
            .max()
            .unwrap_or_default()
    }

    fn oldest_armed_ns(&self) -> Option<u64> {
        let armed = |state: &&Attachment| state.attached && state.armed;
        self.states.iter().flatten().filter(armed).map(|state| state.since_ns).min()
    }

    pub(super) fn change(&mut self, change: Change, time_ns: u64) {
        if let Some(state) = self.states.get_mut(change.hook as usize) {
            *state = Some(Attachment {
                attached: change.attached,
                since_ns: time_ns,
                method: change.method,
                armed: change.armed,
            });
        }
        self.armed_since_ns = self.oldest_armed_ns();
    }
}
