//! Allocation attempts in progress, where their starts are observed. Some never return.

use super::{change::ChangeKind, device::Device, ledger::Context, limit::Limit, reference::At};
use crate::event::{Event, Task};

/// An allocation attempt in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its start.
    pub at: At,
    /// The task.
    pub task: Task,
    /// The range that the pool still points to, although it is gone.
    pub pgmap: u64,
}

/// Limit on the attempts kept per device. A task has at most one.
pub(super) const MAX_ATTEMPTS: usize = 64;

impl Device {
    /// A task starts an allocation attempt.
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

    /// An allocation attempt returns, with or without memory.
    pub(super) fn attempt_returned(&mut self, event: &Event, context: &mut Context<'_>) {
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
