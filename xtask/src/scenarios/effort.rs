//! How much is run of what could be.

use crate::host::cargo::Build;

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Effort {
    /// Also what the short run leaves out on some kernels, see [`super::scenario::Span`].
    pub(super) everything: bool,
    /// How often each scenario is run.
    pub(super) times: usize,
    /// How often `record-killed` kills a recorder.
    pub(super) kills: u32,
    /// How the programs in the guests are compiled.
    pub(super) build: Build,
}

/// Kills of a short run.
const KILLS: u32 = 3;

impl Effort {
    /// What must hold before a change goes in.
    pub(crate) const fn short() -> Self {
        Self {
            everything: false,
            times: 1,
            kills: KILLS,
            build: Build::WithTests,
        }
    }

    /// What a developer names: all of it, once.
    pub(crate) const fn alone() -> Self {
        Self {
            everything: true,
            build: Build::Programs,
            ..Self::short()
        }
    }

    /// All of it, so many times and with so many kills.
    pub(crate) const fn long(times: usize, kills: u32) -> Self {
        Self {
            everything: true,
            times,
            kills,
            build: Build::WithTests,
        }
    }
}
