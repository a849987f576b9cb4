//! The methods by which a hook may be attached, in order of preference. Pure.

use p2p_trace_model::event::Method;

use crate::{
    hook_table::Row,
    kernel::{Kernel, accounting::Misses, config::Setting, patching::Patching, rights::Capability},
    transport::{Attach, Request, Stacks},
};

/// Attach methods, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachMethods {
    usual: &'static [Method],
    /// The methods of armed hooks, and of hooks whose stacks are captured.
    quick: &'static [Method],
    stacks: Option<Stacks>,
}

/// The availability of kprobes to this process on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kprobes {
    /// Not available.
    None,
    /// Available; the runs that they skip are not counted.
    Uncounted,
    /// Available; the runs that they skip are counted.
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

impl AttachMethods {
    /// Follows the request. With [`Attach::Auto`] the cheaper fentry comes first, except where it would block live patches; there the
    /// kprobe comes first, if this process may use any. If skipped runs of kprobes are counted, the kprobe also comes first for two
    /// kinds of hooks: armed hooks, and those that can be, which are needed within milliseconds, since the kernel attaches a kprobe in
    /// less than half the time; and hooks that capture a stack, which halves the cost, since the kernel then starts to unwind in the
    /// function and not in the program.
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

    /// The methods for a hook, the preferred one first.
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

    fn methods(asked: Attach, patching: Patching, kprobes: Kprobes) -> &'static [Method] {
        AttachMethods::new(asked, patching, kprobes, None).of_hook(row(Hook::Alloc))
    }

    fn armed(asked: Attach, kprobes: Kprobes) -> &'static [Method] {
        AttachMethods::new(asked, Patching::Shared, kprobes, None).of_hook(row(Hook::DmaMapSg))
    }

    #[test]
    fn auto_avoids_fentry_if_it_blocks_live_patches() {
        let auto = |patching, kprobes| methods(Attach::Auto, patching, kprobes);
        assert_eq!(auto(Patching::Shared, Kprobes::Counted), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Never, Kprobes::Uncounted), [Fentry, Kprobe]);
        assert_eq!(auto(Patching::Exclusive, Kprobes::Uncounted), [Kprobe, Fentry]);
        assert_eq!(auto(Patching::Exclusive, Kprobes::None), [Fentry, Kprobe]);
    }

    #[test]
    fn a_requested_method_is_the_only_one() {
        for (asked, method) in [(Attach::Fentry, Fentry), (Attach::Kprobe, Kprobe)] {
            assert_eq!(methods(asked, Patching::Exclusive, Kprobes::Counted), [method]);
            let methods =
                AttachMethods::new(asked, Patching::Shared, Kprobes::Counted, Some(stacks(StacksOf::All)));
            assert_eq!(methods.of_hook(row(Hook::Alloc)), [method]);
            assert_eq!(armed(asked, Kprobes::Counted), [method]);
        }
    }

    #[test]
    fn armed_hooks_prefer_counted_kprobes() {
        assert_eq!(armed(Attach::Auto, Kprobes::Counted), [Kprobe, Fentry]);
        assert_eq!(armed(Attach::Auto, Kprobes::Uncounted), [Fentry, Kprobe]);
        assert_eq!(armed(Attach::Auto, Kprobes::None), [Fentry, Kprobe]);
    }

    fn stacks(of: StacksOf) -> Stacks {
        Stacks { of, depth: 3 }
    }

    #[test]
    fn stacks_prefer_counted_kprobes() {
        let first = |kprobes, of, hook| {
            AttachMethods::new(Attach::Auto, Patching::Shared, kprobes, Some(stacks(of)))
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
