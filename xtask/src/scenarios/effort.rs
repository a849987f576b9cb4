//! How much of the possible work a run does.

/// How much of the possible work a run does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Effort {
    /// Also what the short run omits on some kernels, see [`super::scenario::Span`].
    pub(super) everything: bool,
    /// How often each scenario is run.
    pub(super) times: usize,
    /// How often `record-killed` kills a recorder.
    pub(super) kills: u32,
    /// Pairs of an allocation and a free that `endurance` counts.
    pub(super) pairs: u64,
    /// How often `endurance` unbinds and rebinds the card.
    pub(super) rebinds: u32,
}

/// Kills of a short run.
const KILLS: u32 = 10;
/// Pairs of a short run: 200,000 events.
const PAIRS: u64 = 100_000;
/// Pairs of a long run: ten million events.
const MANY_PAIRS: u64 = 5_000_000;
/// Rebinds of a short run.
const REBINDS: u32 = 10;
/// Rebinds of a long run.
const MANY_REBINDS: u32 = 500;

impl Effort {
    /// Kills of a long run.
    pub(crate) const KILLS: u32 = 200;

    /// The run that must pass before a change is merged.
    pub(crate) const fn short() -> Self {
        Self { everything: false, times: 1, kills: KILLS, pairs: PAIRS, rebinds: REBINDS }
    }

    /// The run of a scenario that a developer names: all of it, once.
    pub(crate) const fn alone() -> Self {
        Self { everything: true, ..Self::short() }
    }

    /// A complete run with these numbers of repetitions and kills.
    pub(crate) const fn long(times: usize, kills: u32) -> Self {
        Self { everything: true, times, kills, pairs: MANY_PAIRS, rebinds: MANY_REBINDS }
    }
}
