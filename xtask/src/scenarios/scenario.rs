//! The properties of a scenario, and where it runs.

use anyhow::Result;

use super::lab::{Kind, Lab};
use super::{Method, Verdict};

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The kind of guest.
    pub(super) guest: Kind,
    /// Whether it maps p2p memory into user space.
    pub(super) maps: bool,
    /// Whether it needs the test module.
    pub(super) module: bool,
    /// Whether one method to attach stands for both: it tests the processing of events, which other scenarios
    /// compare.
    pub(super) once: bool,
    /// Whether one kernel stands for all: it tests the processing of events that others get from every
    /// kernel.
    anywhere: bool,
    /// Whether it leaves an unusable or a dead kernel behind.
    pub(super) own_guest: bool,
    /// The label of the only kernel that can run it.
    kernel: Option<&'static str>,
    /// Where the short run has it by fentry, and by kprobe.
    short: [Span; 2],
    pub(super) run: fn(&mut Lab, Method) -> Result<Verdict>,
}

/// On which kernels the short run has a scenario; `cargo xtask soak` and `cargo xtask scenarios` run it on
/// the others as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// On each: the behavior differs between them.
    Every,
    /// On the newest and the oldest: those between have the same code, or other scenarios test what is
    /// special about them.
    Ends,
    /// On the newest: it mostly tests the processing of events.
    First,
}

/// The place of a kernel among the available ones, the newest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) at: usize,
    pub(super) of: usize,
    pub(super) label: &'a str,
}

impl Scenario {
    pub(super) const fn plain(name: &'static str, run: fn(&mut Lab, Method) -> Result<Verdict>) -> Self {
        Self {
            name,
            guest: Kind::Plain,
            maps: false,
            module: false,
            once: false,
            anywhere: false,
            own_guest: false,
            kernel: None,
            short: [Span::Every; 2],
            run,
        }
    }

    pub(super) const fn mapping(mut self) -> Self {
        self.maps = true;
        self
    }

    pub(super) const fn with_module(mut self) -> Self {
        self.module = true;
        self
    }

    pub(super) const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(super) const fn anywhere(mut self) -> Self {
        self.anywhere = true;
        self
    }

    pub(super) const fn in_own_guest(mut self) -> Self {
        self.own_guest = true;
        self
    }

    pub(super) const fn in_guest(mut self, kind: Kind) -> Self {
        self.guest = kind;
        self
    }

    /// On this kernel only.
    pub(super) const fn on_kernel(mut self, label: &'static str) -> Self {
        self.kernel = Some(label);
        self
    }

    /// In the short run on the newest and the oldest kernel only.
    pub(super) const fn at_ends(mut self) -> Self {
        self.short = [Span::Ends; 2];
        self
    }

    /// In the short run on the newest kernel only.
    pub(super) const fn on_first(mut self) -> Self {
        self.short = [Span::First; 2];
        self
    }

    /// In the short run by kprobe on the newest and the oldest kernel only.
    pub(super) const fn kprobe_at_ends(mut self) -> Self {
        self.short[1] = Span::Ends;
        self
    }

    /// In the short run by kprobe on the newest kernel only.
    pub(super) const fn kprobe_on_first(mut self) -> Self {
        self.short[1] = Span::First;
        self
    }

    /// Whether it runs on this kernel.
    pub(super) fn is_due(&self, method: Method, place: Place<'_>, everything: bool) -> bool {
        let span = self.short[usize::from(method == Method::Kprobe)];
        let is_first = place.at == 0;
        (is_first || !self.anywhere)
            && self.kernel.is_none_or(|kernel| kernel == place.label)
            && (everything
                || match span {
                    Span::Every => true,
                    Span::Ends => is_first || place.at + 1 == place.of,
                    Span::First => is_first,
                })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 4] = ["7.3", "6.12", "6.1", "5.10"];
    const BASE: Scenario = Scenario::plain("a", |_, _| Ok(Verdict::Passed));

    fn places(scenario: Scenario, method: Method, everything: bool) -> Vec<usize> {
        (0..4)
            .filter(|&at| scenario.is_due(method, Place { at, of: 4, label: LABELS[at] }, everything))
            .collect()
    }

    #[test]
    fn short_run_follows_the_span() {
        assert_eq!(places(BASE, Method::Kprobe, false), [0, 1, 2, 3]);
        assert_eq!(places(BASE.at_ends(), Method::Fentry, false), [0, 3]);
        assert_eq!(places(BASE.on_first(), Method::Fentry, false), [0]);
        let split = BASE.kprobe_at_ends();
        assert_eq!(places(split, Method::Fentry, false), [0, 1, 2, 3]);
        assert_eq!(places(split, Method::Kprobe, false), [0, 3]);
        assert_eq!(places(BASE.kprobe_on_first(), Method::Kprobe, false), [0]);
    }

    #[test]
    fn long_run_ignores_the_span() {
        assert_eq!(places(BASE.on_first(), Method::Kprobe, true), [0, 1, 2, 3]);
        assert_eq!(places(BASE.anywhere(), Method::Fentry, true), [0]);
        assert_eq!(places(BASE.on_kernel("6.1"), Method::Fentry, true), [2]);
    }

    #[test]
    fn the_only_kernel_runs_everything() {
        let only = Place { at: 0, of: 1, label: LABELS[0] };
        assert!(BASE.at_ends().is_due(Method::Fentry, only, false));
        assert!(BASE.on_first().anywhere().is_due(Method::Kprobe, only, false));
    }
}
