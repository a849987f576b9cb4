//! In which ways a hook may be attached, the first that works. Pure.

use p2p_trace_model::event::Method;

use crate::{
    kernel::{Kernel, config::Setting, patching::Patching},
    transport::Attach,
};

/// Ways, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways(&'static [Method]);

impl Ways {
    /// What is asked for. Left to the tool, it is the cheaper fentry; but where others would be refused what they need, the
    /// kprobe, as far as this process may have any.
    #[must_use]
    pub fn of(asked: Attach, kernel: &Kernel) -> Self {
        let has_kprobes =
            kernel.rights.allows_kprobes() && kernel.config.setting("KPROBE_EVENTS") != Setting::No;
        Self::new(asked, kernel.patching(), has_kprobes)
    }

    const fn new(asked: Attach, patching: Patching, has_kprobes: bool) -> Self {
        use Method::{Fentry, Kprobe};
        Self(match (asked, patching) {
            (Attach::Fentry, _) => &[Fentry],
            (Attach::Kprobe, _) => &[Kprobe],
            (Attach::Auto, Patching::Exclusive) if has_kprobes => &[Kprobe, Fentry],
            (Attach::Auto, _) => &[Fentry, Kprobe],
        })
    }

    /// All, the preferred one first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Method> {
        self.0.iter().copied()
    }

    /// The preferred one.
    #[must_use]
    pub const fn first(self) -> Option<Method> {
        self.0.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(asked: Attach, patching: Patching, has_kprobes: bool) -> Vec<Method> {
        Ways::new(asked, patching, has_kprobes).iter().collect()
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
        }
    }
}
