//! Attempts to take memory that are under way, where their beginnings are seen: some never come back.

use super::{change::ChangeKind, device::Device, ledger::Context, limit::Limit, reference::At};
use crate::event::{Event, Task};

/// An attempt that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its beginning.
    pub at: At,
    /// Who.
    pub task: Task,
    /// The range that the pool still points to, although it is gone.
    pub pgmap: u64,
}

/// Attempts that are kept of a device: there is at most one of each task.
pub(super) const MAX_ATTEMPTS: usize = 64;

impl Device {
    /// A task begins to look for memory.
    pub(super) fn attempt(&mut self, event: &Event, context: &mut Context<'_>) {
        let Some((task, pgmap)) = event.task.zip(event.pgmap) else {
            return;
        };
        self.attempts.retain(|other| other.task.pid != task.pid);
        if self.attempts.len() == MAX_ATTEMPTS {
            self.attempts.remove(0);
            context.report(ChangeKind::Reached(Limit::Attempts));
        }
        self.attempts.push(Attempt { at: context.at, task, pgmap });
    }

    /// A task comes back from that, with memory or without.
    pub(super) fn came_back(&mut self, event: &Event, context: &mut Context<'_>) {
        if self.attempts.is_empty() {
            return;
        }
        let pid = event.task.map(|task| task.pid);
        let before = self.attempts.len();
        self.attempts.retain(|attempt| Some(attempt.task.pid) != pid);
        if self.attempts.len() < before {
            context.report(ChangeKind::Returned);
        }
    }
}
