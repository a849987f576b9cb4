//! In which ways a hook may be attached, the first that works. Pure.

use p2p_trace_model::event::Method;

use crate::{
    hook_table::{Need, Row},
    kernel::{Kernel, accounting::Misses, config::Setting, patching::Patching, rights::Capability},
    transport::Attach,
};

/// Ways, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    usual: &'static [Method],
    /// Of the armed hooks.
    armed: &'static [Method],
}

impl Ways {
    /// What is asked for. Left to the tool, it is the cheaper fentry; but where others would be refused what they need, the
    /// kprobe, as far as this process may have any. So it is for the armed hooks, which are needed within milliseconds: the kernel
    /// attaches a kprobe in less than half the time. But not where only fentry counts what it skips.
    #[must_use]
    pub fn of(asked: Attach, kernel: &Kernel) -> Self {
        let has_kprobes =
            kernel.rights.allows_kprobes() && kernel.config.setting("KPROBE_EVENTS") != Setting::No;
        let misses = kernel.loss_accounting();
        let are_counted = misses.fentry_misses == Misses::Unknown
            || misses.kprobe_misses == Misses::Counted
                && kernel.rights.capabilities.has(Capability::SysAdmin);
        Self::new(asked, kernel.patching(), has_kprobes, are_counted)
    }

    const fn new(asked: Attach, patching: Patching, has_kprobes: bool, are_counted: bool) -> Self {
        use Method::{Fentry, Kprobe};
        const KPROBE_FIRST: &[Method] = &[Kprobe, Fentry];
        let usual: &[Method] = match (asked, patching) {
            (Attach::Fentry, _) => &[Fentry],
            (Attach::Kprobe, _) => &[Kprobe],
            (Attach::Auto, Patching::Exclusive) if has_kprobes => KPROBE_FIRST,
            (Attach::Auto, _) => &[Fentry, Kprobe],
        };
        let is_quick = matches!(asked, Attach::Auto) && has_kprobes && are_counted;
        Self { usual, armed: if is_quick { KPROBE_FIRST } else { usual } }
    }

    /// All for a hook, the preferred one first.
    #[must_use]
    pub const fn of_hook(self, row: &Row) -> &'static [Method] {
        if matches!(row.need, Need::Armed) { self.armed } else { self.usual }
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::Hook;

    use super::*;

    fn ways(asked: Attach, patching: Patching, has_kprobes: bool) -> &'static [Method] {
        Ways::new(asked, patching, has_kprobes, true).of_hook(row(Hook::Alloc))
    }

    fn armed(asked: Attach, has_kprobes: bool, are_counted: bool) -> &'static [Method] {
        Ways::new(asked, Patching::Shared, has_kprobes, are_counted).of_hook(row(Hook::DmaMapSg))
    }

    fn row(hook: Hook) -> &'static Row {
        Row::of(hook).unwrap()
    }

    #[test]
    fn nothing_is_taken_from_others_where_it_can_be_helped() {
        use Method::{Fentry, Kprobe};
        let auto = |patching, has_kprobes| ways(Attach::Auto, patching, has_kprobes);
        assert_eq!(auto(Patching::Shared, true), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Never, true), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Exclusive, true), [Kprobe, Fentry]);
        assert_eq!(auto(Patching::Exclusive, false), [Fentry, Kprobe]);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        for (asked, method) in [(Attach::Fentry, Method::Fentry), (Attach::Kprobe, Method::Kprobe)] {
            assert_eq!(ways(asked, Patching::Exclusive, true), [method]);
            assert_eq!(armed(asked, true, true), [method]);
        }
    }

    #[test]
    fn what_is_needed_at_once_is_attached_by_what_is_quick_and_counts() {
        use Method::{Fentry, Kprobe};
        assert_eq!(armed(Attach::Auto, true, true), [Kprobe, Fentry]);
        assert_eq!(armed(Attach::Auto, true, false), [Fentry, Kprobe]);
        assert_eq!(armed(Attach::Auto, false, true), [Fentry, Kprobe]);
    }
}
