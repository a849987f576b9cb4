//! In which ways a hook may be attached, the first that works. Pure.

use p2p_trace_model::event::Method;

use crate::{
    hook_table::Row,
    kernel::{Kernel, accounting::Misses, config::Setting, patching::Patching, rights::Capability},
    transport::{Attach, Request, Stacks},
};

/// Ways, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    usual: &'static [Method],
    /// Of armed hooks, and of those whose stacks are captured.
    quick: &'static [Method],
    stacks: Option<Stacks>,
}

/// What kprobes come to on this kernel, for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kprobes {
    /// There are none.
    None,
    /// What they skip is not known.
    Uncounted,
    /// What they skip is counted.
    Counted,
}

impl Kprobes {
    fn of(kernel: &Kernel) -> Self {
        if !kernel.rights.allows_kprobes() || kernel.config.setting("KPROBE_EVENTS") == Setting::No {
            return Self::None;
        }
        let counts = kernel.loss_accounting().kprobe_misses == Misses::Counted;
        if counts && kernel.rights.capabilities.has(Capability::SysAdmin) {
            Self::Counted
        } else {
            Self::Uncounted
        }
    }
}

impl Ways {
    /// What is asked for. Left to the tool, it is the cheaper fentry; but where others would be refused what they need, the
    /// kprobe, as far as this process may have any. Where nothing that is skipped goes unnoticed, so it is for two kinds of hooks: for the
    /// armed ones, and those that can be, which are needed within milliseconds, since the kernel attaches a kprobe in less than half the time; and for those
    /// that capture a stack, which costs half, since the kernel begins to unwind in the function then and not in the program.
    #[must_use]
    pub fn of(request: &Request, kernel: &Kernel) -> Self {
        Self::new(request.attach, kernel.patching(), Kprobes::of(kernel), request.stacks)
    }

    const fn new(asked: Attach, patching: Patching, kprobes: Kprobes, stacks: Option<Stacks>) -> Self {
        use Method::{Fentry, Kprobe};
        const FENTRY_FIRST: &[Method] = &[Fentry, Kprobe];
        const KPROBE_FIRST: &[Method] = &[Kprobe, Fentry];
        let (usual, quick): (&[Method], &[Method]) = match (asked, patching, kprobes) {
            (Attach::Fentry, ..) => (&[Fentry], &[Fentry]),
            (Attach::Kprobe, ..) => (&[Kprobe], &[Kprobe]),
            (Attach::Auto, Patching::Exclusive, Kprobes::Uncounted | Kprobes::Counted) => {
                (KPROBE_FIRST, KPROBE_FIRST)
            }
            (Attach::Auto, _, Kprobes::Counted) => (FENTRY_FIRST, KPROBE_FIRST),
            (Attach::Auto, ..) => (FENTRY_FIRST, FENTRY_FIRST),
        };
        Self { usual, quick, stacks }
    }

    /// All for a hook, the preferred one first.
    #[must_use]
    pub fn of_hook(self, row: &Row) -> &'static [Method] {
        let has_stack = self.stacks.is_some_and(|stacks| stacks.are_of(row.hook));
        if has_stack || row.can_be_armed() { self.quick } else { self.usual }
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::Hook;

    use super::*;
    use crate::transport::StacksOf;
    use Method::{Fentry, Kprobe};

    fn row(hook: Hook) -> &'static Row {
        Row::of(hook).unwrap()
    }

    fn ways(asked: Attach, patching: Patching, kprobes: Kprobes) -> &'static [Method] {
        Ways::new(asked, patching, kprobes, None).of_hook(row(Hook::Alloc))
    }

    fn armed(asked: Attach, kprobes: Kprobes) -> &'static [Method] {
        Ways::new(asked, Patching::Shared, kprobes, None).of_hook(row(Hook::DmaMapSg))
    }

    #[test]
    fn nothing_is_taken_from_others_where_it_can_be_helped() {
        let auto = |patching, kprobes| ways(Attach::Auto, patching, kprobes);
        assert_eq!(auto(Patching::Shared, Kprobes::Counted), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Never, Kprobes::Uncounted), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Exclusive, Kprobes::Uncounted), [Kprobe, Fentry]);
        assert_eq!(auto(Patching::Exclusive, Kprobes::None), [Fentry, Kprobe]);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        for (asked, method) in [(Attach::Fentry, Fentry), (Attach::Kprobe, Kprobe)] {
            assert_eq!(ways(asked, Patching::Exclusive, Kprobes::Counted), [method]);
            let ways = Ways::new(asked, Patching::Shared, Kprobes::Counted, Some(stacks(StacksOf::All)));
            assert_eq!(ways.of_hook(row(Hook::Alloc)), [method]);
            assert_eq!(armed(asked, Kprobes::Counted), [method]);
        }
    }

    #[test]
    fn what_is_needed_at_once_is_attached_by_what_is_quick_and_counts() {
        assert_eq!(armed(Attach::Auto, Kprobes::Counted), [Kprobe, Fentry]);
        assert_eq!(armed(Attach::Auto, Kprobes::Uncounted), [Fentry, Kprobe]);
        assert_eq!(armed(Attach::Auto, Kprobes::None), [Fentry, Kprobe]);
    }

    fn stacks(of: StacksOf) -> Stacks {
        Stacks { of, depth: 3 }
    }

    #[test]
    fn a_stack_is_captured_by_kprobe_where_nothing_skipped_goes_unnoticed() {
        let first = |kprobes, of, hook| {
            Ways::new(Attach::Auto, Patching::Shared, kprobes, Some(stacks(of)))
                .of_hook(row(hook))
                .first()
                .copied()
        };
        assert_eq!(first(Kprobes::Counted, StacksOf::Taking, Hook::Alloc), Some(Kprobe));
        assert_eq!(first(Kprobes::Counted, StacksOf::Taking, Hook::Free), Some(Fentry));
        assert_eq!(first(Kprobes::Counted, StacksOf::All, Hook::Free), Some(Kprobe));
        assert_eq!(first(Kprobes::Counted, StacksOf::All, Hook::Kill), Some(Fentry));
        assert_eq!(first(Kprobes::Uncounted, StacksOf::All, Hook::Alloc), Some(Fentry));
        assert_eq!(first(Kprobes::None, StacksOf::All, Hook::Alloc), Some(Fentry));
    }
}
