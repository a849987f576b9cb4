//! Which hooks are attached, as reported in the stream.

use p2p_trace_common::{Hook, hook::HOOKS};

use crate::event::{Method, user::Change};

/// The state of a hook, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Whether it is attached.
    pub attached: bool,
    /// Since when.
    pub since_ns: u64,
    /// How it is attached.
    pub method: Method,
    /// It is attached only while a teardown is pending.
    pub armed: bool,
}

/// All hooks that were ever attached or detached.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    states: [Option<Attachment>; HOOKS],
    /// The hooks that are attached while a teardown is pending.
    to_arm: [bool; HOOKS],
    armed_since_ns: Option<u64>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { states: [None; HOOKS], to_arm: [false; HOOKS], armed_since_ns: None }
    }
}

impl Hooks {
    /// The state of a hook, or `None` if it was never attached.
    #[must_use]
    pub fn state(&self, hook: Hook) -> Option<Attachment> {
        self.states.get(hook as usize).copied().flatten()
    }

    /// Whether the hook is attached.
    #[must_use]
    pub fn is_attached(&self, hook: Hook) -> bool {
        self.state(hook).is_some_and(|state| state.attached)
    }

    /// Whether the hook is attached also while no teardown is pending.
    pub(super) fn is_throughout(&self, hook: Hook) -> bool {
        self.state(hook).is_some_and(|state| state.attached && !state.armed)
    }

    /// Since when all armed hooks are attached: the time of the last one. `None` if not all of them are.
    pub(crate) const fn armed_since_ns(&self) -> Option<u64> {
        self.armed_since_ns
    }

    /// From when on all allocations are observed: the latest time at which one of the hooks on allocating
    /// functions was attached. The hooks are attached one after the other, so the add of a range can be
    /// observed when an allocation from it is not.
    pub(crate) fn allocations_seen_since_ns(&self) -> u64 {
        [Hook::Alloc, Hook::SglAlloc, Hook::Mmap]
            .into_iter()
            .filter_map(|hook| self.state(hook))
            .map(|state| state.since_ns)
            .max()
            .unwrap_or_default()
    }

    /// The time of the last armed hook, if all are attached.
    fn last_armed_ns(&self) -> Option<u64> {
        let mut all = self.states.iter().zip(&self.to_arm).filter(|&(_, &is_armed)| is_armed).peekable();
        all.peek()?;
        all.map(|(state, _)| state.filter(|state| state.attached).map(|state| state.since_ns))
            .try_fold(0, |latest, since_ns| Some(since_ns?.max(latest)))
    }

    /// Sets whether a hook is one of the armed ones. A hook that cannot be armed is not.
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
    fn armed_since_the_last_hook_is_attached() {
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
    fn hook_that_cannot_be_armed_is_not_required() {
        let mut hooks = Hooks::default();
        hooks.set_armed(Hook::DmaMapSg, true);
        hooks.set_armed(Hook::BlkDmaMap, true);
        change(&mut hooks, Hook::DmaMapSg, true, 10);
        assert_eq!(hooks.armed_since_ns(), None);
        hooks.set_armed(Hook::BlkDmaMap, false);
        assert_eq!(hooks.armed_since_ns(), Some(10));
    }
}
