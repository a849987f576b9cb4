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
    /// Those that are attached while a teardown is pending.
    to_arm: [bool; HOOKS],
    armed_since_ns: Option<u64>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { states: [None; HOOKS], to_arm: [false; HOOKS], armed_since_ns: None }
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

    /// It is attached, whether or not a teardown is pending.
    pub(super) fn is_throughout(&self, hook: Hook) -> bool {
        self.state(hook).is_some_and(|state| state.attached && !state.armed)
    }

    /// Since when all hooks that are attached while a teardown is pending are: the time of the last one; `None`: not all of them are.
    pub(crate) const fn armed_since_ns(&self) -> Option<u64> {
        self.armed_since_ns
    }

    /// From when on all that is taken is seen: the latest time at which one of the hooks on what takes memory was attached. The hooks
    /// are attached one after the other, so that a range can be seen being added while an allocation from it is not.
    pub(crate) fn allocations_seen_since_ns(&self) -> u64 {
        [Hook::Alloc, Hook::SglAlloc, Hook::Mmap]
            .into_iter()
            .filter_map(|hook| self.state(hook))
            .map(|state| state.since_ns)
            .max()
            .unwrap_or_default()
    }

    /// The time of the last of the armed hooks, where all are attached.
    fn last_armed_ns(&self) -> Option<u64> {
        let mut all = self.states.iter().zip(&self.to_arm).filter(|&(_, &is_armed)| is_armed).peekable();
        all.peek()?;
        all.map(|(state, _)| state.filter(|state| state.attached).map(|state| state.since_ns))
            .try_fold(0, |latest, since_ns| Some(since_ns?.max(latest)))
    }

    /// A hook is one of those that are armed, or cannot be.
    pub(super) fn set_armed(&mut self, hook: Hook, is_armed: bool) {
        self.to_arm[hook as usize] = is_armed;
        self.armed_since_ns = self.last_armed_ns();
    }

    pub(super) fn change(&mut self, change: Change, time_ns: u64) {
        self.to_arm[change.hook as usize] |= change.armed;
        if let Some(state) = self.states.get_mut(change.hook as usize) {
            *state = Some(Attachment {
                attached: change.attached,
                since_ns: time_ns,
                method: change.method,
                armed: change.armed,
            });
        }
        self.armed_since_ns = self.last_armed_ns();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(hooks: &mut Hooks, hook: Hook, attached: bool, time_ns: u64) {
        hooks.change(Change { hook, attached, method: Method::Kprobe, armed: true }, time_ns);
    }

    #[test]
    fn armed_since_the_last_of_those_that_will_be() {
        let mut hooks = Hooks::default();
        assert_eq!(hooks.armed_since_ns(), None, "none is known");
        for hook in [Hook::DmaMapSg, Hook::DmaMapPage, Hook::AllocEnter] {
            hooks.set_armed(hook, true);
        }
        change(&mut hooks, Hook::DmaMapSg, true, 10);
        change(&mut hooks, Hook::AllocEnter, true, 30);
        assert_eq!(hooks.armed_since_ns(), None, "one is still to come");
        change(&mut hooks, Hook::DmaMapPage, true, 20);
        assert_eq!(hooks.armed_since_ns(), Some(30));
        change(&mut hooks, Hook::DmaMapSg, false, 40);
        assert_eq!(hooks.armed_since_ns(), None, "one has gone");
        change(&mut hooks, Hook::DmaMapSg, true, 50);
        assert_eq!(hooks.armed_since_ns(), Some(50));
    }

    #[test]
    fn a_hook_that_cannot_be_armed_is_not_waited_for() {
        let mut hooks = Hooks::default();
        hooks.set_armed(Hook::DmaMapSg, true);
        hooks.set_armed(Hook::BlkDmaMap, true);
        change(&mut hooks, Hook::DmaMapSg, true, 10);
        assert_eq!(hooks.armed_since_ns(), None);
        hooks.set_armed(Hook::BlkDmaMap, false);
        assert_eq!(hooks.armed_since_ns(), Some(10));
    }
}
