//! How much is run of what could be.

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Effort {
    /// Also what the short run leaves out on some kernels, see [`super::scenario::Span`].
    pub(super) everything: bool,
    /// How often each scenario is run.
    pub(super) times: usize,
    /// How often `record-killed` kills a recorder.
    pub(super) kills: u32,
}

/// Kills of a short run.
const KILLS: u32 = 3;

impl Effort {
    /// What must hold before a change goes in.
    pub(crate) const fn short() -> Self {
        Self { everything: false, times: 1, kills: KILLS }
    }

    /// What a developer names: all of it, once.
    pub(crate) const fn alone() -> Self {
        Self { everything: true, ..Self::short() }
    }

    /// All of it, so many times and with so many kills.
    pub(crate) const fn long(times: usize, kills: u32) -> Self {
        Self { everything: true, times, kills }
    }
}
